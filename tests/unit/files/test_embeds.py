import numpy as np
import pandas as pd
import pytest

from stages.config.mistakes import UserError
from stages.files.embeds import (
    PairEmbeds,
    read_image_embeds,
    read_pair_embeds,
    write_image_embeds,
    write_pair_embeds,
)

EMBEDS = np.eye(3, 4, dtype=np.float32)


def test_embeds_of_pairs_come_back_as_they_were(tmp_path):
    path = tmp_path / "embeds.safetensors"
    rows = pd.DataFrame(
        {"source_id": ["a/1", '"b"', "ä"], "split": ["train", "train", "subject"]}
    ).assign(**{"class": ["cat", None, "<my-frog>"]})
    write_pair_embeds(path, PairEmbeds(rows, EMBEDS))
    found = read_pair_embeds(path)
    assert found.rows.to_dict("list") == rows.to_dict("list")
    assert np.array_equal(found.image_embeds, EMBEDS)
    assert np.array_equal(read_image_embeds(path, "embed"), EMBEDS)
    subject = found.select("subject")
    assert subject.rows["source_id"].tolist() == ["ä"]
    assert np.array_equal(subject.image_embeds, EMBEDS[2:])
    assert len(found.select("subject_held_out").image_embeds) == 0


def test_a_transposed_array_keeps_its_values(tmp_path):
    path = tmp_path / "scores.safetensors"
    write_image_embeds(path, np.eye(4, dtype=np.float32)[::-1].T)
    assert np.array_equal(read_image_embeds(path, "score"), np.eye(4)[::-1].T)


def test_what_is_missing_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(UserError, match="dvc repro embed"):
        read_pair_embeds(tmp_path / "nothing")
    path = tmp_path / "scores.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"no image_embeds .*dvc repro score"):
        read_image_embeds(path, "score")


def test_parts_of_different_lengths_are_refused(tmp_path):
    path = tmp_path / "embeds.safetensors"
    rows = pd.DataFrame({"source_id": ["a", "b"], "split": "train", "class": "cat"})
    write_pair_embeds(path, PairEmbeds(rows, EMBEDS))
    with pytest.raises(UserError, match="different lengths"):
        read_pair_embeds(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_embed_that_is_not_finite_is_refused(tmp_path, bad):
    embeds = EMBEDS.copy()
    embeds[1, 1] = bad
    with pytest.raises(UserError, match="image_embeds are not finite"):
        write_image_embeds(tmp_path / "scores.safetensors", embeds)
    with pytest.raises(UserError, match="dino_embeds are not finite"):
        write_image_embeds(tmp_path / "scores.safetensors", EMBEDS, more={"dino_embeds": embeds})
    assert not list(tmp_path.iterdir())
