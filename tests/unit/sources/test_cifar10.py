import numpy as np
import pytest
import torchvision

from stages.config.mistakes import UserError
from stages.sources.opening import open_source
from tests.unit.sources.builders import CLASSES, make_data, make_picture


class StubDataset:
    classes = ("airplane", "cat", "dog")
    filename, url, tgz_md5 = "cifar.tar.gz", "https://example.org/cifar.tar.gz", "0123"

    def __init__(self, root, train, download):
        assert train
        assert download
        self.targets = [2, 0, 1]
        self.data = np.stack([np.asarray(make_picture(value)) for value in (20, 0, 10)])


def test_cifar10_is_listed_with_the_names_of_its_labels(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", StubDataset)
    source = open_source(make_data("cifar10", tmp_path), CLASSES)
    assert [entry.class_name for entry in source.entries] == ["dog", "airplane", "cat"]
    assert source.load_image(2) == make_picture(10)
    with pytest.raises(UserError, match="CIFAR-10 has no lynx; it has airplane, cat, dog"):
        open_source(make_data("cifar10", tmp_path), ("cat", "lynx"))


def test_cifar10_without_a_network_says_which_file_to_put_where(monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise OSError("no network\nat all")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    with pytest.raises(UserError) as caught:
        open_source(make_data("cifar10", tmp_path), CLASSES)
    message = str(caught.value)
    assert "(no network); put cifar-10-python.tar.gz (170 MB, MD5 c58f30108f718f" in message
    assert message.endswith(f"into {tmp_path}")
