import errno
import os
import resource
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from stages.files.atomic import replace_file
from stages.files.embeds import write_image_embeds
from stages.files.images import write_png
from stages.files.tables import write_json, write_table
from stages.files.tensors import write_tensors

NOBODY = 65534
WRITERS = {
    "table.csv": lambda path: write_table(pd.DataFrame({"a": range(99)}), path),
    "table.parquet": lambda path: write_table(pd.DataFrame({"a": range(99)}), path),
    "metrics.json": lambda path: write_json({"a": "a" * 99}, path),
    "picture.png": lambda path: write_png(Image.new("RGB", (32, 32)), path),
    "weights.safetensors": lambda path: write_tensors(path, {"a": torch.ones(9)}),
    "embeds.safetensors": lambda path: write_image_embeds(path, np.eye(4)),
}


@contextmanager
def limit_files(num_bytes):
    """As on a disk that is full after `num_bytes`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def without_rights():
    """As a user who may not write to what root owns."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_earlier_file_and_is_told_with_its_name(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"earlier")
    with limit_files(20), pytest.raises(OSError, match=name) as caught:
        WRITERS[name](path)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_a_read_only_folder_is_told_with_the_name_of_the_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o555)
    with without_rights(), pytest.raises(PermissionError, match=name):
        WRITERS[name](type(tmp_path)(name))
    tmp_path.chmod(0o755)
    assert not list(tmp_path.iterdir())


def test_an_error_of_another_kind_passes_through(tmp_path):
    with pytest.raises(KeyError), replace_file(tmp_path / "x") as partial:
        partial.write_text({}["half"])
    assert not list(tmp_path.iterdir())
