"""Pictures of both sides that another program made: what is read, paired, noted and refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.config.mistakes import UserError
from stages.files.tables import INDEPENDENT, PAIRED_BY
from stages.sources.handed_in import HandedIn, open_handed_in, take_in_pictures
from tests.handed_in import Rows, make_rows, write_parquet, write_rows, write_side

PROMPTS = {"a red cup": 2, "a blue car": 2}


def number(count: int) -> int:
    return count


@pytest.fixture
def rows() -> Rows:
    return make_rows(PROMPTS, seed=number)


@pytest.fixture
def named(tmp_path: Path, rows: Rows) -> dict[str, Path]:
    return write_sides(tmp_path, rows, rows)


def write_sides(folder: Path, baseline: Rows, finetuned: Rows) -> dict[str, Path]:
    return {
        "baseline": write_side(folder / "theirs", baseline, seed=0),
        "finetuned": write_side(folder / "ours", finetuned, seed=1),
    }


def list_files(handed_in: HandedIn, variant: str) -> list[tuple[str, str]]:
    table = handed_in.samples[variant]
    return list(zip(table["file_name"], table["source_id"], strict=True))


def test_equal_seeds_of_a_prompt_are_pairs_in_whatever_order_the_tables_are(
    tmp_path: Path, rows: Rows
) -> None:
    handed_in = open_handed_in(write_sides(tmp_path, rows, rows[::-1]))
    assert list_files(handed_in, "baseline") == list_files(handed_in, "finetuned")
    assert handed_in.samples["baseline"]["index"].tolist() == [0, 1, 0, 1]
    assert handed_in.samples["finetuned"]["seed"].tolist() == [0, 1, 0, 1]
    assert handed_in.prompts[PAIRED_BY].tolist() == ["seed", "seed"]
    assert handed_in.prompts["prompt"].tolist() == list(PROMPTS)


def test_a_pair_column_pairs_before_seeds_do(tmp_path: Path) -> None:
    first = make_rows(PROMPTS, seed=number, pair=lambda n: f"p{n}")
    second = make_rows(PROMPTS, seed=lambda n: 7 + n, pair=lambda n: f"p{1 - n}")
    handed_in = open_handed_in(write_sides(tmp_path, first, second))
    assert handed_in.prompts[PAIRED_BY].unique().tolist() == ["pair"]
    assert list_files(handed_in, "finetuned")[0][1] == "0_1.png"


@pytest.mark.parametrize("column", ["seed", "set"])
def test_what_is_chosen_changes_with_the_table_though_no_picture_does(
    tmp_path: Path, rows: Rows, named: dict[str, Path], column: str
) -> None:
    before = take_in_pictures(named).chosen
    for folder in named.values():
        changed = {"seed": lambda row: 1 - row["seed"], "set": lambda _: "marketing"}[column]
        write_rows(folder / "metadata.csv", [row | {column: changed(row)} for row in rows])
    assert not take_in_pictures(named).chosen.equals(before)


@pytest.mark.parametrize("drop", ["both", "one"])
def test_without_seeds_on_both_sides_pictures_are_independent(
    tmp_path: Path, rows: Rows, drop: str
) -> None:
    more = make_rows({"a red cup": 3, "a blue car": 1})
    handed_in = open_handed_in(
        write_sides(tmp_path, rows if drop == "one" else make_rows(PROMPTS), more)
    )
    assert handed_in.prompts[PAIRED_BY].unique().tolist() == [INDEPENDENT]
    assert handed_in.samples["finetuned"]["index"].tolist() == [0, 1, 2, 0]


def test_without_columns_all_are_one_set_and_no_class(named: dict[str, Path]) -> None:
    samples = open_handed_in(named).samples["baseline"]
    assert set(samples["set"]) == {"in_domain"}
    assert set(samples["class"]) == {""}


def test_set_and_class_are_those_of_the_tables(tmp_path: Path) -> None:
    rows = make_rows(PROMPTS, **{"set": "marketing", "class": "thing"})
    prompts = open_handed_in(write_sides(tmp_path, rows, rows)).prompts
    assert set(prompts["set"]) == {"marketing"}
    assert set(prompts["class"]) == {"thing"}


def test_parquet_and_json_lines_are_read_as_the_folder_is(
    tmp_path: Path, rows: Rows, named: dict[str, Path]
) -> None:
    expected = open_handed_in(named)
    parquet = {
        variant: write_parquet(tmp_path / f"{variant}.parquet", rows, seed)
        for seed, variant in enumerate(named)
    }
    found = open_handed_in(parquet)
    pd.testing.assert_frame_equal(found.prompts, expected.prompts)
    for variant, path in named.items():
        folder, file = (each.sources[variant] for each in (expected, found))
        pictures = [np.asarray(source.load_image(3)) for source in (folder, file)]
        assert (pictures[0] == pictures[1]).all()
        table = path / "metadata.csv"
        table.unlink()
        lines = [json.dumps(row) for row in rows]
        table.with_suffix(".jsonl").write_text("\n".join(lines))
    pd.testing.assert_frame_equal(open_handed_in(named).prompts, expected.prompts)


def test_every_picture_is_opened_and_kept_at_its_size(
    tmp_path: Path, rows: Rows, named: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write_side(tmp_path / "ours", rows, seed=1, side_px=24)
    levels = np.arange(24 * 24, dtype=np.uint16).reshape(24, 24) * 113
    Image.fromarray(levels).save(tmp_path / "ours/0_0.png")  # 16 bits
    intake = take_in_pictures(named)
    assert intake.chosen.groupby("split").size().to_dict() == {"baseline": 4, "finetuned": 4}
    assert "baseline: " + str(tmp_path / "theirs") + ", 4 pictures of 16 x 16 px" in caplog.text
    assert "pictures are paired by seed" in caplog.text
    reasons = intake.left_out["reason"].tolist()
    assert reasons == ["the baseline's are of 16 x 16 px: sharpness is of the pixels as they are"]
    image = open_handed_in(named).sources["finetuned"].load_image(0)
    assert image.size == (24, 24)
    assert np.abs(np.asarray(image)[..., 0] - np.rint(levels / 257)).max() == 0


def test_equal_pictures_without_seeds_are_noted(tmp_path: Path) -> None:
    rows = make_rows(PROMPTS)
    named = write_sides(tmp_path, rows, rows)
    write_side(tmp_path / "ours", rows, seed=0)
    reasons = take_in_pictures(named).left_out["reason"].tolist()
    assert (
        reasons == ["the same pixels as a picture of the baseline: so they are not independent"] * 4
    )


def test_what_is_not_read_is_noted(tmp_path: Path) -> None:
    rows = make_rows(PROMPTS, steps=30)
    named = write_sides(tmp_path, rows, rows)
    write_rows(named["finetuned"] / "metadata.csv", rows[:3])
    notes = take_in_pictures(named).left_out
    assert [tuple(row) for row in notes.to_numpy()] == [
        ("baseline", "metadata.csv", "columns not used: steps"),
        ("finetuned", "metadata.csv", "columns not used: steps"),
        ("finetuned", "1_1.png", "not in metadata.csv"),
    ]


Break = Callable[[Path, Rows], object]


def rewrite(change: Callable[[Rows], Rows]) -> Break:
    """The fine-tuned side's table, changed."""
    return lambda folder, rows: write_rows(folder / "ours/metadata.csv", change(rows))


def rename(old: str, new: str) -> Break:
    return rewrite(lambda rows: [{new if k == old else k: v for k, v in r.items()} for r in rows])


def change_row(place: int, **values: object) -> Break:
    return rewrite(lambda rows: [r | values if n == place else r for n, r in enumerate(rows)])


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            rename("prompt", "promt"),
            "metadata.csv, line 1: no column prompt; it has file_name, promt, seed; rename promt",
        ),
        (
            rename("file_name", "picture"),
            "line 1: no column file_name; it has picture, prompt, seed; rename one of them",
        ),
        (
            rename("seed", "Seeds"),
            r"line 1: column Seeds is not read; did you mean seed\? Rename it",
        ),
        (
            lambda folder, _: (folder / "ours/1_0.png").unlink(),
            "ours/metadata.csv, line 4: no file .*ours/1_0.png; did you mean ",
        ),
        (
            lambda folder, _: [f.unlink() for f in (folder / "ours").glob("*.png")],
            "line 2: no .*\n.*line 3: no .*\n.*line 4: no file .*\n4 rows of .* are wrong",
        ),
        (
            lambda folder, _: (folder / "ours/1_0.png").write_bytes(b"\x89PNG\r\n\x1a\n cut"),
            "ours/1_0.png: not a whole picture|ours/1_0.png: damaged or cut off PNG",
        ),
        (change_row(1, file_name="0_0.png"), "line 3: 0_0.png is listed twice; drop one row"),
        (change_row(0, prompt=" "), "line 2: the prompt is empty; write it, or drop it"),
        (
            change_row(0, seed=-1),
            'line 2: found seed "-1"; should be a whole number, 0 to .* drop the column',
        ),
        (change_row(0, seed=""), 'line 2: found seed ""; should be a whole number'),
        (
            rewrite(lambda rows: [row | {"set": "other"} for row in rows]),
            'line 2: found set "other"; should be in_domain or marketing',
        ),
        (
            change_row(1, seed=0),
            r"pictures.finetuned: 1 picture with the seed of another of the prompt: \"a red cup\" "
            r"with seed 0\npictures.baseline: 1 picture without a partner in pictures.finetuned: "
            r"\"a red cup\" with seed 1; correct the column seed, or drop it: then pictures are",
        ),
        (
            rewrite(lambda rows: rows[:3]),
            r"pictures.baseline: 1 picture without a partner in pictures.finetuned: \"a blue car\" "
            r"with seed 1; correct",
        ),
        (
            rewrite(lambda rows: rows[:2]),
            r"pictures.baseline: 1 prompt that pictures.finetuned does not have: \"a blue car\"",
        ),
        (
            rewrite(lambda rows: [row | {"class": "cup"} for row in rows]),
            r"pictures.finetuned: \"a red cup\", \"a blue car\": another set or class than in pict",
        ),
        (
            rewrite(lambda rows: [r | {"class": f"c{n}"} for n, r in enumerate(rows)]),
            "found several sets or classes; write one a prompt",
        ),
        (
            lambda folder, _: (folder / "ours/metadata.csv").rename(folder / "ours/prompts.csv"),
            "ours: no table; should have metadata.csv or metadata.jsonl, with file_name and prompt"
            "; rename prompts.csv",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, rows: Rows, named: dict[str, Path], break_it: Break, message: str
) -> None:
    break_it(tmp_path, rows)
    with pytest.raises(UserError) as error:
        take_in_pictures(named)
    assert re.search(message, str(error.value)), str(error.value)


def test_of_many_pairs_that_are_not_whole_three_are_named_and_all_counted(tmp_path: Path) -> None:
    first = make_rows({"a cup": 6}, seed=number)
    named = write_sides(tmp_path, first, make_rows({"a cup": 6}, seed=lambda n: n + 5))
    with pytest.raises(UserError) as error:
        open_handed_in(named)
    lines = str(error.value).splitlines()
    assert lines[0] == (
        "pictures.baseline: 5 pictures without a partner in pictures.finetuned: "
        '"a cup" with seed 0, "a cup" with seed 1, "a cup" with seed 2, …'
    )
    assert lines[1].startswith("pictures.finetuned: 5 pictures without a partner in pictures.base")


def test_mistakes_of_both_sides_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        open_handed_in({"baseline": tmp_path / "a", "finetuned": tmp_path / "b.parquet"})
    first, second = str(error.value).splitlines()
    assert first == f"pictures.baseline: no folder or parquet file {tmp_path / 'a'}; set it to one"
    assert second.startswith("pictures.finetuned: no folder or parquet file ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "picture"}, "no column 'image'; it has prompt, seed, picture; name one of them"),
        ({"prompt": "promt"}, "no column prompt; it has promt, seed; rename promt"),
    ],
)
def test_a_column_that_parquet_lacks_is_named(
    tmp_path: Path, rows: Rows, change: dict[str, str], message: str
) -> None:
    path = write_parquet(tmp_path / "ours.parquet", rows)
    pd.read_parquet(path).rename(columns=change).to_parquet(path)
    with pytest.raises(UserError, match=re.escape(message)):
        open_handed_in({"baseline": path, "finetuned": path})


def test_a_folder_of_parquet_files_is_told_how_to_be_named(tmp_path: Path, rows: Rows) -> None:
    write_parquet(tmp_path / "0.parquet", rows[:2])
    write_parquet(tmp_path / "1.parquet", rows[2:])
    both = {"baseline": tmp_path, "finetuned": tmp_path}
    with pytest.raises(UserError, match=rf"name its parquet files as {tmp_path}/\*\.parquet"):
        open_handed_in(both)
    found = open_handed_in(dict.fromkeys(both, tmp_path / "*.parquet"))
    assert found.samples["baseline"]["source_id"].tolist() == [
        *("0.parquet#0", "0.parquet#1", "1.parquet#0", "1.parquet#1")
    ]
