import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages.config.mistakes import UserError
from stages.config.params import DataParams, parse_params
from stages.files.images import encode_png
from stages.files.taught import Taught
from stages.sources.intake import take_in

ROOT = Path.cwd()


def draw(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (8, 8), (seed, 255 - seed, 0))
    image.putpixel((7, 7), (0, 0, 9))
    image.save(path)


def build_params(folder, num_pairs=4, num_validation=2, data="pairs", **subject):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    values = YAML(typ="safe", pure=True).load(text)
    if folder:
        values["bases"]["tiny"]["data"] = {"source": "imagefolder", "root": str(folder)}
    values["prepare"] |= {"num_pairs": num_pairs, "num_validation_pairs": num_validation}
    values["prepare"]["classes"] = ["cat", "dog"]
    values["finetune"]["data"] = data
    values["subject"] |= subject
    return parse_params(json.dumps(values))


def test_a_line_for_each_source_counts_what_was_left_out_and_why(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for seed in range(3):
        draw(tmp_path / f"cat/{seed}.png", seed)
        draw(tmp_path / f"dog/{seed}.png", 100 + seed)
        draw(tmp_path / f"subject/.ipynb_checkpoints/{seed}.png", seed)
        draw(tmp_path / f"subject/{seed}.png", 200 + seed)
    pictures, subject = tmp_path, tmp_path / "subject"
    shutil.move(subject, tmp_path.parent / "toy")
    subject = tmp_path.parent / "toy"
    (pictures / "cat/.DS_Store").write_bytes(b"")
    (pictures / "cat/notes.md").write_bytes(b"no picture")
    wanted = {"source": "imagefolder", "root": str(subject)}
    counts = {"num_pictures": 2, "num_held_out_pictures": 1}
    params = build_params(pictures, data="subject", **wanted, **counts)
    intake = take_in(params, Taught(False, params.subject))
    assert caplog.messages == [
        f"pairs: {pictures}, 6 pictures, taken {{'train': 4, 'validation': 2}}; left out or noted: "
        "1 hidden, or left by a program (cat/.DS_Store), 1 no picture of a known format "
        "(cat/notes.md)",
        f"subject: {subject}, 3 pictures, taken {{'subject': 2, 'subject_held_out': 1}}; left out "
        "or noted: 1 hidden, or left by a program (.ipynb_checkpoints)",
        "prompts: {'in_domain': 24, 'marketing': 24, 'subject': 8}",
    ]
    assert intake.left_out.to_numpy().tolist() == [
        ["pairs", "cat/.DS_Store", "hidden, or left by a program"],
        ["pairs", "cat/notes.md", "no picture of a known format"],
        ["subject", ".ipynb_checkpoints", "hidden, or left by a program"],
    ]


@pytest.mark.parametrize("copied", range(6))
def test_equal_pictures_are_never_both_trained_on_and_held_out(tmp_path, copied):
    for seed in range(6):
        draw(tmp_path / f"cat/{seed}.png", seed)
        draw(tmp_path / f"dog/{seed}.png", 100 + seed)
    for number in range(3):
        shutil.copy(tmp_path / f"cat/{copied}.png", tmp_path / f"cat/copy-{number}.png")
    intake = take_in(build_params(tmp_path, 6, 4), None)
    splits = intake.chosen.groupby("split")["pixels"].agg(set)
    assert not splits["train"] & splits["validation"]
    assert intake.chosen["split"].value_counts().to_dict() == {"train": 6, "validation": 4}
    copies = {"cat/copy-0.png", "cat/copy-1.png", "cat/copy-2.png", f"cat/{copied}.png"}
    taken = set(intake.chosen["source_id"]) & copies
    if len(taken) > 1:
        assert copies >= set(intake.left_out["item"]) >= taken


def test_too_many_copies_are_told_with_numbers_that_work(tmp_path):
    for seed in range(4):
        draw(tmp_path / f"cat/{seed}.png", 7)
        draw(tmp_path / f"dog/{seed}.png", 100 + seed)
    message = (
        r"beside 2 copies of held-out pictures, .*cat has 2 pictures and needs 2 \+ 1; add pict"
    )
    with pytest.raises(UserError, match=message):
        take_in(build_params(tmp_path, 4, 2), None)


@pytest.mark.parametrize("seed", [2, 11, 14])
def test_the_numbers_that_are_said_to_work_do_although_pictures_are_equal(tmp_path, seed):
    rng = np.random.default_rng(seed)
    num_distinct = rng.integers(2, 9)
    for number in range(16):
        draw(tmp_path / f"cat/{number}.png", int(rng.integers(num_distinct)))
        draw(tmp_path / f"dog/{number}.png", 100 + number)
    with pytest.raises(UserError, match=r"too few .*; .*") as caught:
        take_in(build_params(tmp_path, 24, 8), None)
    numbers = re.search(r"num_pairs (\d+) with .*pairs (\d+) would", str(caught.value))
    if not numbers:
        with pytest.raises(UserError, match="add pictures"):
            take_in(build_params(tmp_path, 2, 2), None)
        return
    train, held_out = map(int, numbers.groups())
    assert len(take_in(build_params(tmp_path, train, held_out), None).chosen) == train + held_out


def test_of_a_subject_the_numbers_that_are_said_to_work_do(tmp_path):
    for number in range(6):
        draw(tmp_path / f"{number}.png", number // 2)
    wanted = {"source": "imagefolder", "root": str(tmp_path), "seed": 1}
    counts = {"num_pictures": 4, "num_held_out_pictures": 2}
    params = build_params(None, data="subject", **wanted, **counts)
    with pytest.raises(UserError, match=r"num_pictures \d with .*pictures \d would work") as caught:
        take_in(params, Taught(False, params.subject))
    works = map(int, re.findall(r"pictures (\d) w", str(caught.value)))
    params = build_params(None, data="subject", **wanted, **dict(zip(counts, works, strict=True)))
    take_in(params, Taught(False, params.subject))


def test_a_picture_with_neither_class_nor_caption_is_refused_before_any_result(tmp_path):
    for seed in range(6):
        draw(tmp_path / f"{seed}.png", seed)
        (tmp_path / f"{seed}.txt").write_text("a cat" if seed else " ")
    with pytest.raises(UserError, match=r"0\.txt: the caption is empty"):
        take_in(build_params(tmp_path), None)


def test_an_empty_caption_is_refused_before_any_result_where_there_is_no_class(tmp_path):
    images = [encode_png(Image.new("RGB", (8, 8), (level, 0, 0))) for level in range(6)]
    texts = ["a cat", "a dog", None, "", " ", "a cow"]
    pq.write_table(pa.table({"image": images, "text": texts}), tmp_path / "a.parquet")
    params = build_params(tmp_path)
    columns = {"image_column": "image", "label_column": None, "caption_column": "text"}
    data = DataParams(source="parquet", root=str(tmp_path / "a.parquet"), **columns)
    base = params.chosen.model_copy(update={"data": data})
    params = params.model_copy(update={"bases": {"tiny": base}})
    with pytest.raises(
        UserError, match=r"/a\.parquet, row \d: .* neither a caption nor a class; write"
    ):
        take_in(params, None)


def test_another_picture_under_its_name_has_other_pixels(tmp_path):
    for seed in range(3):
        draw(tmp_path / f"cat/{seed}.png", seed)
        draw(tmp_path / f"dog/{seed}.png", 100 + seed)
    before = take_in(build_params(tmp_path), None).chosen.set_index("source_id")
    draw(tmp_path / "dog/1.png", 50)
    after = take_in(build_params(tmp_path), None).chosen.set_index("source_id")
    changed = before["pixels"] != after["pixels"]
    assert changed[changed].index.tolist() == ["dog/1.png"]
    assert before.drop(columns="pixels").equals(after.drop(columns="pixels"))


def test_too_few_pictures_are_told_with_those_that_were_left_out(tmp_path):
    for seed in range(3):
        draw(tmp_path / f"dog/{seed}.png", seed)
        (tmp_path / "cat").mkdir(exist_ok=True)
        (tmp_path / f"cat/{seed}.heic").write_bytes(b"\0\0\0\x18ftypheic")
    message = (
        r"cat has 0 pict.*; left out or noted: 3 HEIC, which .*save it .* \(cat/0\.heic\); add p"
    )
    with pytest.raises(UserError, match=message):
        take_in(build_params(tmp_path), None)
