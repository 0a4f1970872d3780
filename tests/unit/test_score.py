import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages import reference, score
from stages.config import paths
from stages.config.mistakes import UserError
from stages.files.embeds import Reference, read_image_embeds, read_reference, write_embeds
from stages.files.images import decode_image, write_png
from stages.files.pairs import read_pairs
from stages.files.tables import SAMPLES_SCHEMA, read_scores, write_table
from stages.scoring.embed import embed_images
from stages.scoring.scorer import load_scorer
from tests.tiny import IMAGE_SIZE_PX, build_scorer
from tests.unit.stable_diffusion_project import PARAMS, build_pairs, edit_params

SAMPLES = paths.SAMPLES / "baseline"
PROMPTS = [  # two pictures each
    ("cat-1", "class", "cat", "a photo of a cat"),
    ("dog-2", "class", "dog", "a photo of a dog"),
    ("mug-3", "marketing", "coffee mug", "a blue coffee mug"),
]


def write_samples(folder):
    rng = np.random.default_rng(1)
    rows = []
    for prompt_id, set_name, class_name, prompt in PROMPTS:
        for index in range(2):
            name = f"{prompt_id}-{index}.png"
            pixels = rng.integers(0, 256, (IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), dtype=np.uint8)
            write_png(Image.fromarray(pixels), folder / SAMPLES / name)
            rows.append(
                {
                    "file_name": name,
                    "prompt": prompt,
                    "prompt_id": prompt_id,
                    "set": set_name,
                    "class": class_name,
                    "index": index,
                    "seed": 0,
                    "steps": 2,
                    "guidance": 7.5,
                    "scheduler": "ddim",
                    "model": "models/tiny",
                    "is_finite": True,
                }
            )
    shutil.copy(folder / SAMPLES / "cat-1-0.png", folder / SAMPLES / "mug-3-1.png")  # a duplicate
    write_table(pd.DataFrame(rows)[list(SAMPLES_SCHEMA)], folder / SAMPLES / "metadata.csv")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build_scorer(folder / "models/tiny-scorer")
        (folder / "params.yaml").write_text(PARAMS.read_text())
        edit_params(folder, "score", batch_size=4)
        pairs = build_pairs()
        pairs.loc[0, "class"] = None
        write_table(pairs, folder / paths.PAIRS)
        write_samples(folder)
        reference.main()
        score.main("baseline")
        yield folder


@pytest.fixture
def scores(scored):
    return read_scores(scored / paths.SCORES / "baseline.csv")


def test_the_reference_holds_the_training_pictures_in_order(scored):
    embeds, class_index = read_reference(scored / paths.REFERENCE)
    pairs = read_pairs(scored / paths.PAIRS)
    pictures = [decode_image(data, "") for data in pairs["image"][pairs["split"] == "train"]]
    scorer = load_scorer("local-dir:models/tiny-scorer", None)
    np.testing.assert_allclose(embeds, embed_images(scorer, pictures), rtol=0, atol=1e-6)
    assert class_index.tolist() == [-1, 5, 3, 5, 3, 5, 3, 5]  # of prepare.classes: cat 3, dog 5


def test_embeds_stand_in_the_order_of_the_table(scored, scores):
    embeds = read_image_embeds(scored / paths.SCORES / "baseline.safetensors", "score")
    scorer = load_scorer("local-dir:models/tiny-scorer", None)
    pictures = [Image.open(scored / SAMPLES / name) for name in scores["file_name"]]
    np.testing.assert_allclose(embeds, embed_images(scorer, pictures), rtol=0, atol=1e-6)


def test_similarity_to_the_training_pictures_follows_from_the_embeds(scored, scores):
    embeds = read_image_embeds(scored / paths.SCORES / "baseline.safetensors", "score")
    training, classes = read_reference(scored / paths.REFERENCE)
    cosines = embeds @ training.T
    expected = [row[classes == 3].mean() for row in cosines[:2]]
    expected += [row[classes == 5].mean() for row in cosines[2:4]]
    expected += [row.mean() for row in cosines[4:]]
    assert scores["training_similarity"].tolist() == pytest.approx(expected, abs=1e-5)
    nearest = scores["nearest_training_cosine"].tolist()
    assert nearest == pytest.approx(cosines.max(axis=1), abs=1e-5)
    assert scores["nearest_training_row"].tolist() == cosines.argmax(axis=1).tolist()


def test_a_marketing_prompt_competes_with_the_prompts_of_its_own_set_only(scores):
    assert scores["retrieval_rank"][4:].tolist() == [1, 1]
    assert set(scores["retrieval_rank"][:4]) <= {1, 2}


def test_only_the_later_of_two_equal_pictures_is_a_duplicate(scored, scores):
    assert scores["is_duplicate"].tolist() == [False] * 5 + [True]
    metrics = json.loads((scored / "metrics/baseline.json").read_text())
    assert metrics["num_duplicates"] == 1
    assert {"kid_class", "cmmd_class", "diversity_class", "diversity_marketing"} <= set(metrics)


def test_every_metric_in_the_table_has_its_provenance(scored, scores):
    provenance = json.loads((scored / paths.SCORES / "baseline.json").read_text())
    assert {"clip_cosine", "kid", "cmmd", "diversity", "sharpness"} <= set(provenance)
    assert provenance["clip_cosine"]["model"] == "local-dir:models/tiny-scorer"
    assert "bicubic" in provenance["clip_cosine"]["preprocessing"]


def test_a_missing_package_stops_before_anything_is_scored(scored, monkeypatch):
    before = (scored / paths.SCORES / "baseline.csv").read_bytes()
    edit_params(scored, "score", extra_metrics=["musiq"])
    monkeypatch.setattr("stages.scoring.metrics.pretrained.find_spec", lambda _: None)
    monkeypatch.setattr(score, "score_images", None)
    with pytest.raises(UserError, match=r"score\.extra_metrics: musiq needs the package pyiqa"):
        score.main("baseline")
    edit_params(scored, "score", extra_metrics=[])
    assert (scored / paths.SCORES / "baseline.csv").read_bytes() == before


def test_a_truncated_picture_is_named_with_what_brings_it_back(scored, monkeypatch):
    monkeypatch.chdir(scored)
    before = (paths.SCORES / "baseline.csv").read_bytes()
    picture = SAMPLES / "dog-2-1.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=rf"^{picture}: not a whole .*; run `dvc checkout --force"):
        score.main("baseline")
    picture.write_bytes(whole)
    assert (paths.SCORES / "baseline.csv").read_bytes() == before


def test_a_reference_of_another_scorer_is_refused(scored):
    path = scored / paths.REFERENCE
    good = path.read_bytes()
    foreign = Reference(np.eye(2, dtype=np.float32), np.zeros(2, np.int64))
    write_embeds(path, foreign._asdict())
    with pytest.raises(UserError, match="dvc repro reference"):
        score.main("baseline")
    path.write_bytes(good)
