import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages import prepare
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import load_params
from stages.files.images import decode_image, encode_png, resize_to_square
from stages.files.tables import read_prompts, write_json, write_table
from stages.files.taught import name_taught, write_taught
from stages.sources.drawing.pictures import draw_picture
from stages.sources.intake import Part, build_pairs, take_in
from stages.sources.source import Entry, Source
from tests.pictures import read_pairs
from tests.unit.stable_diffusion_project import write_pairs

ROOT = Path.cwd()
CIFAR10_PARQUET = os.environ.get("CIFAR10_PARQUET")
"""A file of the public edition, for those who have it: columns img and label."""


LEARNED = {"textual_inversion": "<my-frog>", "full": "sks frog"}


def write_params(folder, num_classes=3, method="attn2", subject=None, **data):
    values = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["bases"]["tiny"]["data"] |= data
    values["prepare"] |= {"num_pairs": 14, "num_validation_pairs": 6}
    values["prepare"]["classes"] = values["prepare"]["classes"][:num_classes]
    values["prompts"]["file"] = str(ROOT / values["prompts"]["file"])
    values["finetune"] |= {"method": method, "data": "subject" if subject is not None else "pairs"}
    values["subject"] |= subject or {}
    (folder / "params.yaml").write_text(json.dumps(values))


def teach(folder, method, subject):
    write_params(folder, method=method, subject=subject)
    write_taught(name_taught(load_params()), paths.SUBJECT)


def run():
    """What `preflight` does for it, and `prepare`."""
    params = load_params()
    write_table(take_in(params, name_taught(params)).chosen, paths.CHOSEN)
    prepare.main()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    write_json({}, paths.SUBJECT)
    return tmp_path


def test_pairs_and_prompts_are_as_the_params_say(project):
    run()
    pairs = read_pairs(paths.PAIRS)
    assert list(pairs["split"]) == ["train"] * 14 + ["validation"] * 6
    assert pairs.groupby(["split", "class"]).size().to_list() == [5, 5, 4, 2, 2, 2]
    assert pairs["source_id"].is_unique
    for data in pairs["image"]:
        image = Image.open(io.BytesIO(data))
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 64))
    prompts = read_prompts(paths.PROMPTS)
    assert prompts["set"].value_counts().to_dict() == {"in_domain": 36, "marketing": 24}
    assert prompts["prompt_id"].is_unique


def test_each_pair_has_the_picture_that_its_source_id_names(project):
    run()
    for row in read_pairs(paths.PAIRS).itertuples():
        _, name, seed = row.source_id.split("/")
        assert name in row.caption
        expected = resize_to_square(draw_picture("photo", name, int(seed)).image, 64)
        assert decode_image(row.image, "") == expected


def test_a_picture_that_changed_since_preflight_is_refused(project):
    for index in range(20):
        draw_picture("photo", "cat", index).image.save(project / f"{index}.png")
        (project / f"{index}.txt").write_text(f"cat {index}")
    write_params(project, source="imagefolder", root=".")
    params = load_params()
    write_table(take_in(params, None).chosen, paths.CHOSEN)
    draw_picture("photo", "dog", 0).image.save(project / "7.png")
    with pytest.raises(UserError, match=r"^7\.png: changed after .*; run `dvc repro` again$"):
        prepare.main()
    assert not paths.PAIRS.exists()


def test_the_same_params_write_the_same_bytes(project):
    written = []
    for _ in range(2):
        run()
        written.append([path.read_bytes() for path in (paths.PAIRS, paths.PROMPTS)])
    assert written[0] == written[1]


def test_each_class_takes_the_templates_in_turn_and_own_captions_come_first():
    names = ["apple", "cat", "apple", "apple", "cat"]
    entries = [Entry(str(i), name) for i, name in enumerate(names)] + [Entry("5", "cat", "my own")]
    source = Source("x", entries, lambda _: None)
    pairs = build_pairs(Part("train", source, range(6), ["a {}", "the {}"]))
    assert set(pairs["split"]) == {"train"}
    assert list(pairs["caption"]) == [
        "an apple",
        "a cat",
        "the apple",
        "an apple",
        "the cat",
        "my own",
    ]


def test_a_picture_with_neither_class_nor_caption_is_named():
    source = Source("x", [Entry("here.png")], lambda _: None)
    with pytest.raises(UserError, match=r"here\.png: .*neither a caption nor a class"):
        build_pairs(Part("train", source, [0], ["a {}"]))


@pytest.mark.parametrize("method", LEARNED)
def test_the_pictures_of_the_subject_are_pairs_of_two_splits(project, method):
    folder = project / "frogs"
    folder.mkdir()
    for index in range(9):
        picture = Image.effect_noise((40 + index, 80), 99).convert("RGB")
        picture.save(folder / f"{index}.png")
    templates = ["a photo of a {}", "the {}"]
    subject = {"source": "imagefolder", "root": "frogs", "caption_templates": templates}
    teach(project, method, subject | {"num_pictures": 5, "num_held_out_pictures": 3})
    run()
    pairs = read_pairs(paths.PAIRS)
    splits = ["train"] * 14 + ["validation"] * 6 + ["subject"] * 5 + ["subject_held_out"] * 3
    assert list(pairs["split"]) == splits  # each split in one piece
    of_subject = pairs[20:]
    assert of_subject["source_id"].is_unique
    assert set(of_subject["class"]) == {LEARNED[method]}
    a_photo, the = (template.format(LEARNED[method]) for template in templates)
    assert list(of_subject["caption"]) == [
        a_photo,
        the,
        a_photo,
        the,
        a_photo,
        a_photo,
        the,
        a_photo,
    ]
    for row in of_subject.itertuples():
        expected = resize_to_square(Image.open(folder / row.source_id), 64)
        assert decode_image(row.image, "") == expected
        assert expected.size == (64, 64)


@pytest.mark.parametrize("method", LEARNED)
def test_the_fine_tuned_model_is_asked_for_what_it_learned(project, method):
    teach(project, method, {})
    run()
    prompts = read_prompts(paths.PROMPTS)
    assert prompts["set"].value_counts().to_dict() == {
        "in_domain": 36,
        "subject": 8,
        "marketing": 24,
    }
    is_subject = prompts["set"] == "subject"
    of_subject, others = prompts[is_subject], prompts[~is_subject]
    assert (others["finetuned_prompt"] == others["prompt"]).all()
    assert set(of_subject["class"]) == {"frog"}
    assert of_subject["prompt"].iloc[0] == "a photo of a frog"
    asked = [text.replace("frog", LEARNED[method]) for text in of_subject["prompt"]]
    assert list(of_subject["finetuned_prompt"]) == asked


def test_a_subject_changes_no_other_pair(project):
    run()
    before = read_pairs(paths.PAIRS)
    teach(project, "full", {})
    run()
    after = read_pairs(paths.PAIRS)
    assert len(after) == len(before) + 16
    assert after[: len(before)].equals(before)


def test_the_sheet_has_a_row_for_each_class_in_their_order(project, monkeypatch):
    seen = []
    monkeypatch.setattr(prepare, "draw_sheet", lambda rows, _: seen.extend(rows) or rows[0][1][0])
    run()
    assert [(name, len(images)) for name, images in seen] == [
        ("airplane", 5),
        ("automobile", 5),
        ("bird", 4),
    ]


def test_a_long_name_does_not_widen_the_sheet(tmp_path):
    names = ["x" * 100, "x" * 10_000]
    pairs = pd.DataFrame({"split": "train", "class": names, "caption": "a", "source_id": "b"})
    path = tmp_path / "pairs.parquet"
    write_pairs(pairs.assign(image=encode_png(Image.new("L", (8, 8)))), path)
    widths = [prepare.draw_pairs(path, [name]).width for name in names]
    assert widths[0] == widths[1] < 1000


def test_captioned_pictures_without_classes_go_all_the_way(project):
    folder = project / "pictures"
    folder.mkdir()
    lines = []
    for index in range(20):
        draw_picture("photo", "cat", index).image.save(folder / f"{index}.png")
        lines.append(json.dumps({"file_name": f"{index}.png", "text": f"cat {index}"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    write_params(project, source="imagefolder", root="pictures")
    run()
    pairs = read_pairs(paths.PAIRS)
    assert pairs["class"].isna().all()
    assert list(pairs["caption"]) == [f"cat {name.split('.')[0]}" for name in pairs["source_id"]]


def test_a_mistake_is_one_line_and_leaves_earlier_results(project):
    run()
    before = paths.PAIRS.read_bytes()
    write_params(project, source="imagefolder", root="nowhere")
    result = subprocess.run(
        [sys.executable, "-m", "stages.prepare"],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == ("error: data.root: no folder nowhere; set it to one")
    assert "Traceback" not in result.stderr
    assert paths.PAIRS.read_bytes() == before


@pytest.mark.skipif(not CIFAR10_PARQUET, reason="CIFAR10_PARQUET names no file")
def test_the_public_cifar10_edition_is_read(project):
    columns = {"image_column": "img", "label_column": "label"}
    write_params(project, num_classes=10, source="parquet", root=CIFAR10_PARQUET, **columns)
    run()
    pairs = read_pairs(paths.PAIRS)
    assert pairs["class"].nunique() == 10
    assert all(
        name in caption for name, caption in zip(pairs["class"], pairs["caption"], strict=True)
    )
    assert np.asarray(decode_image(pairs["image"][0], "")).std() > 5
