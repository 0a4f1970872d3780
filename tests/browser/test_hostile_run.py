"""Hostile classes, captions and prompts, from the pictures to the report in Chromium.

The names get as far as a user's params.yaml and data can carry them: all stages run.
"""

import csv
import re

import pytest
from PIL import Image

from stages.config import paths
from stages.files.tables import read_prompts, read_scores
from tests.browser.test_report import OPEN_ALL, SCROLL_WIDTH
from tests.hostile import MARKETING, NAMES
from tests.pictures import read_samples

pytestmark = pytest.mark.thorough

RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "123")}
MAX_NAME = 80
TEXTS = """(all) => all.map((one) =>
    (one.querySelector('.whole') ?? one.querySelector('.text')).textContent)"""
ENDS = """(note) => {
  const bounds = (text, place) => {
    const range = document.createRange();
    range.setStart(text, place);
    range.setEnd(text, place + 1);
    return range.getBoundingClientRect().left;
  };
  const text = note.querySelector('bdi').nextSibling;
  return [bounds(text, text.length - 3), bounds(text, text.length - 2)];
}"""


def list_files(folder):
    return sorted(file for file in folder.rglob("*") if file.is_file())


def test_nothing_is_written_outside_the_folder_or_run_by_a_shell(hostile_run):
    assert [path.name for path in hostile_run.parent.iterdir()] == ["project"]
    known = {"data", "metrics", "models", "params.yaml", "pictures.parquet", "plots", "scratch"}
    assert {path.name for path in hostile_run.iterdir()} == known


def test_every_file_name_is_one_on_windows_too(hostile_run):
    for path in hostile_run.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9_@-][A-Za-z0-9._@-]*", path.name)
        assert path.name.split(".")[0].lower() not in RESERVED
        assert path.name[-1] != "."
        assert len(path.name) <= MAX_NAME
    lowered = [str(path).lower() for path in list_files(hostile_run)]
    assert len(set(lowered)) == len(lowered)


def test_every_table_has_the_texts_as_they_are(hostile_run):
    expected = {f"a {name}" for name in NAMES} | {f"{name} on a table" for name in MARKETING}
    expected = {re.sub(r"^a (?=[aeiou])", "an ", text) for text in expected}
    prompts = read_prompts(hostile_run / paths.PROMPTS)
    assert set(prompts["prompt"]) == expected
    for variant in paths.VARIANTS:
        samples = read_samples(hostile_run / paths.SAMPLES[variant])
        scores = read_scores(hostile_run / paths.SCORES[variant])
        for table in (samples, scores):
            assert list(table["prompt"]) == list(prompts["prompt"])
            assert set(table["class"]) == set(NAMES)


def test_every_csv_has_as_many_cells_in_each_row_for_any_reader(hostile_run):
    csv.field_size_limit(1_000_000)
    files = [file for file in list_files(hostile_run) if file.suffix == ".csv"]
    assert len(files) > 10
    for file in files:
        with file.open(encoding="utf-8", newline="") as lines:
            assert len({len(row) for row in csv.reader(lines, strict=True)}) == 1, file


def test_no_picture_grows_with_a_name(hostile_run):
    for file in list_files(hostile_run / "plots"):
        if file.suffix == ".png":
            with Image.open(file) as image:
                assert max(image.size) < 10_000, file


@pytest.mark.parametrize("width", ["phone", "desktop"])
def test_no_script_of_a_name_runs_and_the_page_keeps_its_shape(hostile_run, open_page, width):
    opened = open_page(hostile_run / paths.REPORT, width)
    page, dialogs = opened.page, []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.evaluate(OPEN_ALL)
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
        chart.locator("svg .trace").first.wait_for(state="attached")
    pairs = page.locator("#explorer button.pair")
    assert pairs.count() == len(NAMES) + len(MARKETING)
    pairs.first.click()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert dialogs == []
    assert page.evaluate("window.injected") is None
    assert page.locator("#injected").count() == 0
    assert page.locator("body script").count() == 5
    assert page.locator("a:not([href^='#'])").count() == 0
    assert opened.messages == []
    asked = [url for url in opened.requests if not url.startswith(("data:", "blob:"))]
    assert asked == [(hostile_run / paths.REPORT).as_uri()]
    assert page.evaluate(SCROLL_WIDTH) <= page.viewport_size["width"]


def test_every_prompt_is_in_the_page_as_it_is(hostile_run, open_page):
    page = open_page(hostile_run / paths.REPORT).page
    shown = page.locator("#explorer > details").evaluate_all(TEXTS)
    assert sorted(shown) == sorted(read_prompts(hostile_run / paths.PROMPTS)["prompt"])


def test_a_name_that_turns_the_direction_of_text_does_not_turn_the_numbers(hostile_run, open_page):
    page = open_page(hostile_run / paths.REPORT).page
    page.evaluate(OPEN_ALL)
    note = page.locator("#explorer .note", has_text="\u202e").first
    left, right = note.evaluate(ENDS)
    assert left < right
