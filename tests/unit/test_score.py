import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages import embed, score
from stages.config import paths
from stages.config.mistakes import UserError
from stages.files.embeds import (
    PairEmbeds,
    read_image_embeds,
    read_pair_embeds,
    write_pair_embeds,
)
from stages.files.facts import read_facts
from stages.files.images import decode_image, encode_png
from stages.files.pictures import read_rows, write_pictures
from stages.files.tables import SAMPLES_SCHEMA, read_scores
from stages.scoring.embed import embed_images
from stages.scoring.scorer import load_scorer
from tests.pictures import name_images, read_pairs
from tests.tiny import IMAGE_SIZE_PX, build_scorer
from tests.unit.stable_diffusion_project import PARAMS, build_pairs, edit_params, write_pairs

SAMPLES = paths.SAMPLES["baseline"]
SCORES = paths.SCORES["baseline"]
PROMPTS = [  # two pictures each
    ("cat-1", "in_domain", "cat", "a photo of a cat"),
    ("dog-2", "in_domain", "dog", "a photo of a dog"),
    ("mug-3", "marketing", "coffee mug", "a blue coffee mug"),
]


def write_samples(folder):
    rng = np.random.default_rng(1)
    rows, images = [], []
    for prompt_id, set_name, class_name, prompt in PROMPTS:
        for index in range(2):
            name = f"{prompt_id}-{index}.png"
            pixels = rng.integers(0, 256, (IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), dtype=np.uint8)
            images.append(encode_png(Image.fromarray(pixels)))
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
    images[-1] = images[0]  # a duplicate
    write_pictures(pd.DataFrame(rows), images, folder / SAMPLES, SAMPLES_SCHEMA)


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
        write_pairs(pairs, folder / paths.PAIRS)
        write_samples(folder)
        embed.main()
        score.main("baseline")
        yield folder


@pytest.fixture
def scores(scored):
    return read_scores(scored / SCORES)


def test_the_training_pictures_are_embedded_in_order(scored):
    rows, embeds, _ = read_pair_embeds(scored / paths.IMAGE_EMBEDS).select("train")
    pairs = read_pairs(scored / paths.PAIRS)
    pictures = [decode_image(data, "") for data in pairs["image"][pairs["split"] == "train"]]
    scorer = load_scorer("local-dir:models/tiny-scorer", None)
    np.testing.assert_allclose(embeds, embed_images(scorer, pictures), rtol=0, atol=1e-6)
    assert rows["source_id"].tolist() == pairs["source_id"][pairs["split"] == "train"].tolist()
    assert rows["class"].fillna("none").tolist() == ["none", *["dog", "cat"] * 3, "dog"]


def test_embeds_stand_in_the_order_of_the_table(scored, scores):
    embeds = read_image_embeds(scored / paths.SAMPLE_EMBEDS["baseline"], "score")
    scorer = load_scorer("local-dir:models/tiny-scorer", None)
    images = name_images(scored / SAMPLES)
    pictures = [decode_image(images[name], name) for name in scores["file_name"]]
    np.testing.assert_allclose(embeds, embed_images(scorer, pictures), rtol=0, atol=1e-6)


def test_similarity_to_the_training_pictures_follows_from_the_embeds(scored, scores):
    embeds = read_image_embeds(scored / paths.SAMPLE_EMBEDS["baseline"], "score")
    rows, training, _ = read_pair_embeds(scored / paths.IMAGE_EMBEDS).select("train")
    cosines = embeds @ training.T
    expected = [row[rows["class"] == "cat"].mean() for row in cosines[:2]]
    expected += [row[rows["class"] == "dog"].mean() for row in cosines[2:4]]
    expected += [row.mean() for row in cosines[4:]]
    assert scores["training_similarity"].tolist() == pytest.approx(expected, abs=1e-5)
    nearest = scores["nearest_training_cosine"].tolist()
    assert nearest == pytest.approx(cosines.max(axis=1), abs=1e-5)
    nearest = [rows["source_id"].iloc[row] for row in cosines.argmax(axis=1)]
    assert scores["nearest_training_id"].tolist() == nearest


def test_a_marketing_prompt_competes_with_the_prompts_of_its_own_set_only(scores):
    assert scores["retrieval_rank"][4:].tolist() == [1, 1]
    assert set(scores["retrieval_rank"][:4]) <= {1, 2}


def test_only_the_later_of_two_equal_pictures_is_a_duplicate(scores):
    assert scores["is_duplicate"].tolist() == [False] * 5 + [True]


def test_every_metric_in_the_table_has_its_facts(scored, scores):
    facts = read_facts(scored / paths.FACTS["baseline"])
    assert {"clip_cosine", "kid", "cmmd", "diversity", "sharpness"} <= set(facts)
    assert {entry.column for entry in facts.values() if entry.unit == "picture"} <= set(scores)
    assert facts["clip_cosine"].model == "local-dir:models/tiny-scorer"
    assert "bicubic" in facts["clip_cosine"].preprocessing


def test_what_a_guide_said_stands_beside_the_judges_scores_and_is_no_verdict(scored):
    path = scored / SAMPLES
    good, images = path.read_bytes(), name_images(path)
    rows = read_rows(path, SAMPLES_SCHEMA, "sample").assign(guide_cosine=np.arange(6) / 10)
    schema = {**SAMPLES_SCHEMA, "guide_cosine": "float64"}
    write_pictures(rows, list(images.values()), path, schema)
    score.main("baseline")
    found, facts = read_scores(scored / SCORES), read_facts(scored / paths.FACTS["baseline"])
    assert found["guide_cosine"].tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert set(facts["guide_cosine"].direction.values()) == {"neither"}
    path.write_bytes(good)
    score.main("baseline")
    assert "guide_cosine" not in read_scores(scored / SCORES)


def test_a_missing_package_stops_before_anything_is_scored(scored, monkeypatch):
    before = (scored / SCORES).read_bytes()
    edit_params(scored, "score", extra_metrics=["musiq"])
    monkeypatch.setattr("stages.scoring.metrics.pretrained.find_spec", lambda _: None)
    monkeypatch.setattr(score, "score_images", None)
    with pytest.raises(UserError, match=r"score\.extra_metrics: musiq needs the package pyiqa"):
        score.main("baseline")
    edit_params(scored, "score", extra_metrics=[])
    assert (scored / SCORES).read_bytes() == before


def test_a_damaged_table_of_pictures_is_named_with_what_brings_it_back(scored, monkeypatch):
    monkeypatch.chdir(scored)
    before, whole = SCORES.read_bytes(), SAMPLES.read_bytes()
    SAMPLES.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=rf"^{SAMPLES}: not a whole .*; run `dvc repro sample`"):
        score.main("baseline")
    SAMPLES.write_bytes(whole)
    assert SCORES.read_bytes() == before


def test_embeds_of_another_scorer_are_refused(scored):
    path = scored / paths.IMAGE_EMBEDS
    good = path.read_bytes()
    rows = pd.DataFrame({"source_id": ["a", "b"], "split": "train", "class": "cat"})
    write_pair_embeds(path, PairEmbeds(rows, np.eye(2, dtype=np.float32)))
    with pytest.raises(UserError, match="dvc repro embed"):
        score.main("baseline")
    path.write_bytes(good)
