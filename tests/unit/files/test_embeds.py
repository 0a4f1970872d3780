import numpy as np
import pytest

from stages.config.mistakes import UserError
from stages.files.embeds import (
    Reference,
    read_image_embeds,
    read_reference,
    write_embeds,
)

EMBEDS = np.eye(3, 4, dtype=np.float32)


def test_a_reference_comes_back_as_it_was(tmp_path):
    path = tmp_path / "reference.safetensors"
    write_embeds(path, Reference(EMBEDS, np.array([0, -1, 2]))._asdict())
    reference = read_reference(path)
    assert np.array_equal(reference.image_embeds, EMBEDS)
    assert reference.class_index.tolist() == [0, -1, 2]
    assert np.array_equal(read_image_embeds(path, "reference"), EMBEDS)


def test_a_transposed_array_keeps_its_values(tmp_path):
    path = tmp_path / "scores.safetensors"
    write_embeds(path, {"image_embeds": np.eye(4, dtype=np.float32)[::-1].T})
    assert np.array_equal(read_image_embeds(path, "score"), np.eye(4)[::-1].T)


def test_what_is_missing_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(UserError, match="dvc repro reference"):
        read_reference(tmp_path / "nothing")
    path = tmp_path / "scores.safetensors"
    write_embeds(path, {"image_embeds": EMBEDS})
    with pytest.raises(UserError, match=r"class_index.*dvc repro reference"):
        read_reference(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="dvc repro score"):
        read_image_embeds(path, "score")


def test_embeds_and_classes_of_different_lengths_are_refused(tmp_path):
    path = tmp_path / "reference.safetensors"
    write_embeds(path, Reference(EMBEDS, np.array([0]))._asdict())
    with pytest.raises(UserError, match="different lengths"):
        read_reference(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_embed_that_is_not_finite_is_refused(tmp_path, bad):
    embeds = EMBEDS.copy()
    embeds[1, 1] = bad
    with pytest.raises(UserError, match="not finite"):
        write_embeds(tmp_path / "scores.safetensors", {"image_embeds": embeds})
    assert not list(tmp_path.iterdir())
