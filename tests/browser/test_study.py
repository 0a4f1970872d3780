"""Whole studies, voted through in Chromium: keyboard, touch, reload, undo, two tabs, save."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from stages import preference
from stages.commands import study
from stages.config import paths
from stages.study.key import read_key
from stages.study.votes import LEFT, RIGHT, SAME, read_votes
from tests.browser.conftest import WIDTHS_PX
from tests.hostile import list_hostile_prompts
from tests.report_project import write_report, write_results
from tests.study_project import prefer, press_left

pytestmark = pytest.mark.thorough

NUM_PAIRS = 12
KEYS = {LEFT: "ArrowLeft", RIGHT: "ArrowRight", SAME: "ArrowDown"}
BUTTONS = {LEFT: "#left", RIGHT: "#right", SAME: "#same"}
KEPT = "JSON.parse(localStorage.getItem(Object.keys(localStorage)[0]))"
SHOWN = """() => ['left', 'right'].map((side) => {
  const name = steps[state.answers.length].trial[side];
  const image = document.getElementById(side).firstElementChild;
  return image.src === study.pictures[name] ? name : 'another';
})"""
UNDECODED = """() => Promise.all(Object.values(study.pictures).map((uri) => {
  const image = new Image(); image.src = uri;
  return image.decode().then(() => image.naturalWidth, () => 0);
}))"""
BOXES = """() => [...document.querySelectorAll('#voting button')].map((button) => {
  const box = button.getBoundingClientRect();
  return [box.left, box.top, box.right, box.bottom];
})"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a study of 12 pairs."""
    folder = tmp_path_factory.mktemp("study")
    write_results(folder)
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("num_pairs: 40 ", f"num_pairs: {NUM_PAIRS} "))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study.main()
    return folder


@pytest.fixture
def key(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """The key of the study, in a copy of the project without votes."""
    monkeypatch.chdir(shutil.copytree(project, tmp_path / "copy"))
    paths.VOTES.mkdir()
    return read_key(paths.STUDY_KEY)


@pytest.fixture
def open_study(browser: Browser, project: Path):
    """A function that opens the page in a browser of its own: width, whether by touch."""
    contexts: list[BrowserContext] = []

    def open_page(width: str, has_touch: bool = False) -> Page:
        size = {"width": WIDTHS_PX[width], "height": 844}
        context = browser.new_context(viewport=size, has_touch=has_touch, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.goto((project / paths.STUDY_PAGE).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


def decide(page: Page, key: pd.DataFrame, answer: Callable) -> str:
    """What a rater says of the pictures that are on the page."""
    left, right = page.evaluate(SHOWN)
    rows = key[key["a"].isin([left, right]) & key["b"].isin([left, right])]
    row = rows.iloc[0].to_dict()
    arms = {row["a"]: row["arm_a"], row["b"]: row["arm_b"]}
    return answer(row, arms[left], arms[right])


def finish(page: Page, key: pd.DataFrame, answer: Callable, press: Callable) -> int:
    """Answer all that is left; how many answers that were."""
    count = 0
    while page.locator("#voting").is_visible():
        press(decide(page, key, answer))
        count += 1
    return count


def save(page: Page, button: str = "#finished .save") -> Path:
    """Save the votes to where they belong."""
    with page.expect_download() as download:
        page.click(button)
    path = paths.VOTES / download.value.suggested_filename
    download.value.save_as(path)
    return path


@pytest.mark.parametrize(("width", "way"), [("phone", "touch"), ("desktop", "keyboard")])
def test_a_whole_study_comes_out_as_it_was_answered_and_goes_on_to_the_report(
    open_study, key, width, way
):
    page = open_study(width, has_touch=way == "touch")
    assert page.locator("#consent").is_visible()
    assert page.locator("#voting").is_hidden()
    (page.tap if way == "touch" else page.click)("#start")

    def press(said: str) -> None:
        if way == "touch":
            page.tap(BUTTONS[said])
        else:
            page.keyboard.press(KEYS[said])

    assert finish(page, key, prefer("finetuned"), press) == 2 * len(key)
    assert "Thank you" in page.locator("#finished").inner_text()
    path = save(page)
    assert re.fullmatch(rf"votes-{key['study'][0]}-\d+\.csv", path.name)
    assert page.locator("textarea").input_value() == path.read_text()
    votes = read_votes(paths.VOTES, key)
    assert len(votes) == 2 * len(key)
    pairs = votes[votes["kind"] == "pair"]
    assert set(pairs["arm_left"].where(pairs["answer"] == LEFT, pairs["arm_right"])) == {
        "finetuned"
    }
    assert set(votes.loc[votes["kind"] == "equal", "answer"]) == {SAME}
    again = votes[votes["kind"] == "repeat"].merge(pairs, on=["pair", "question"])
    assert (again["left_x"] != again["left_y"]).all()
    preference.main()
    report = write_report(Path.cwd())
    assert f"One rater compared {NUM_PAIRS} pairs" in report
    assert "fine-tuned is preferred" in report


def test_the_space_bar_is_no_difference_and_backspace_takes_back(open_study, key):
    page = open_study("desktop")
    page.click("#start")
    assert page.locator("#undo").is_disabled()
    first, words = page.evaluate(SHOWN), page.locator("#question").inner_text()
    page.keyboard.press(" ")
    assert page.locator("#question").inner_text() != words
    assert page.evaluate(SHOWN) == first
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(SHOWN) != first
    assert [said for said, _ in page.evaluate(KEPT)["answers"]] == [SAME, LEFT]
    page.keyboard.press("Backspace")
    page.click("#undo")
    assert page.evaluate(SHOWN) == first
    assert page.locator("#question").inner_text() == words
    assert page.evaluate(KEPT)["answers"] == []
    finish(page, key, press_left, lambda _: page.keyboard.press("ArrowRight"))
    page.keyboard.press("Backspace")  # from the last page, too
    assert page.locator("#voting").is_visible()
    page.keyboard.press("ArrowDown")
    save(page)
    votes = read_votes(paths.VOTES, key)
    assert votes["answer"].tolist() == [RIGHT] * (2 * len(key) - 1) + [SAME]


def test_a_button_that_has_the_focus_is_pressed_by_the_space_bar(open_study):
    page = open_study("desktop")
    page.click("#start")
    page.locator("#right").focus()
    page.keyboard.press(" ")
    assert [said for said, _ in page.evaluate(KEPT)["answers"]] == [RIGHT]
    page.keyboard.press(" ")  # and the focus is gone
    assert [said for said, _ in page.evaluate(KEPT)["answers"]] == [RIGHT, SAME]
    page.keyboard.press("Control+ArrowLeft")
    assert len(page.evaluate(KEPT)["answers"]) == 2


def test_after_a_reload_and_a_pause_it_goes_on_where_it_was(open_study, key):
    page = open_study("phone")
    page.click("#start")
    for _ in range(7):
        page.keyboard.press("ArrowLeft")
    kept, shown = page.evaluate(KEPT), page.evaluate(SHOWN)
    page.reload()
    assert page.locator("#voting").is_visible()
    assert page.evaluate(SHOWN) == shown
    assert page.evaluate(KEPT) == kept
    page.click("#pause")
    assert "7 answers are kept" in page.locator("#paused").inner_text()
    page.keyboard.press("ArrowLeft")  # which is no vote now
    part = save(page, "#paused .save")
    assert len(read_votes(paths.VOTES, key)) == 7
    part.unlink()
    page.click("#resume")
    assert page.evaluate(SHOWN) == shown
    finish(page, key, press_left, lambda _: page.keyboard.press("ArrowLeft"))
    save(page)
    assert set(read_votes(paths.VOTES, key)["answer"]) == {LEFT}


def test_two_tabs_lose_no_votes(open_study, key):
    one = open_study("desktop")
    one.click("#start")
    one.keyboard.press("ArrowLeft")
    other = one.context.new_page()
    other.goto(one.url)
    presses = ((other, "ArrowRight"), (one, "ArrowDown"), (other, "ArrowLeft"))
    for count, (tab, way) in enumerate(presses, start=1):
        tab.bring_to_front()
        tab.wait_for_function(f"[state, {KEPT}].every(seen => seen.answers.length === {count})")
        tab.keyboard.press(way)
    one.wait_for_function(f"{KEPT}.answers.length === 4")  # a tab sees the other's a moment later
    assert [said for said, _ in one.evaluate(KEPT)["answers"]] == [LEFT, RIGHT, SAME, LEFT]
    # A tab that has not heard of it yet does not write over it: its press is no vote.
    one.evaluate("state = {rater: state.rater, answers: state.answers.slice(0, 2)}")
    one.bring_to_front()
    one.keyboard.press("ArrowRight")
    assert [said for said, _ in one.evaluate(KEPT)["answers"]] == [LEFT, RIGHT, SAME, LEFT]
    finish(one, key, press_left, lambda _: one.keyboard.press("ArrowLeft"))
    other.locator("#finished").wait_for()  # it hears of the last vote a moment later
    save(other)
    assert len(read_votes(paths.VOTES, key)) == 2 * len(key)


def test_raters_have_numbers_orders_and_sides_of_their_own(open_study, key):
    page = open_study("desktop")
    for _ in range(2):
        page.click("#start")
        finish(page, key, press_left, lambda _: page.keyboard.press("ArrowLeft"))
        save(page)
        page.click("#another")
    votes = read_votes(paths.VOTES, key)
    one, other = (group.reset_index() for _, group in votes.groupby("rater"))
    assert (one["trial"] != other["trial"]).any()
    sides = one.merge(other, on=["trial", "question"])
    assert 0 < (sides["left_x"] != sides["left_y"]).sum() < len(sides)
    late = set(key.loc[key["kind"] == "repeat", "trial"])
    assert not late & set(one["trial"][: len(one) // 2])


def test_votes_that_were_not_saved_are_not_thrown_away_without_asking(open_study, key):
    page = open_study("desktop")
    page.click("#start")
    finish(page, key, press_left, lambda _: page.keyboard.press("ArrowLeft"))
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.click("#another")
    assert page.locator("#finished").is_visible()
    assert len(page.evaluate(KEPT)["answers"]) == 2 * len(key)


def test_a_browser_that_keeps_nothing_says_so_and_still_saves(open_study, key):
    page = open_study("desktop")
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    page.click("#start")
    assert page.locator("#forgetful").is_visible()
    finish(page, key, press_left, lambda _: page.keyboard.press("ArrowLeft"))
    save(page)
    assert len(read_votes(paths.VOTES, key)) == 2 * len(key)


@pytest.mark.parametrize("width", ["phone", "desktop"])
def test_the_page_fits_and_its_buttons_are_large_enough_to_touch(open_study, width):
    page = open_study(width)
    page.click("#start")
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS_PX[width]
    for left, top, right, bottom in page.evaluate(BOXES):
        assert right <= WIDTHS_PX[width]
        assert bottom <= 844
        assert right - left >= 44
        assert bottom - top >= 36
    assert all(page.evaluate(UNDECODED))


def test_it_opens_without_errors_and_asks_the_network_for_nothing(project, open_page):
    opened = open_page(project / paths.STUDY_PAGE)
    opened.page.click("#start")
    opened.page.keyboard.press("ArrowLeft")
    assert opened.messages == []
    asked = [url for url in opened.requests if not url.startswith(("data:", "blob:"))]
    assert asked == [(project / paths.STUDY_PAGE).as_uri()]


def test_hostile_prompts_stay_texts(tmp_path, monkeypatch, open_page):
    monkeypatch.chdir(tmp_path)
    prompts = list_hostile_prompts()
    write_results(tmp_path, prompts=prompts)
    text = Path("params.yaml").read_text()
    consent = "  - You may stop at any time.\n"
    assert consent in text
    hostile = f"{consent}  - <img id=injected src=x onerror='window.injected = 3'>\n"
    text = text.replace("num_pairs: 40 ", "num_pairs: 6 ").replace(consent, hostile)
    Path("params.yaml").write_text(text)
    study.main()
    opened = open_page(tmp_path / paths.STUDY_PAGE, "phone")
    page, seen = opened.page, set()
    page.click("#start")
    while page.locator("#voting").is_visible():
        seen.add(page.locator("#text").text_content())
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS_PX["phone"]
        page.keyboard.press("ArrowLeft")
    assert seen == set(prompts["prompt"])
    assert page.evaluate("window.injected") is None
    assert page.locator("#injected").count() == 0
    assert page.locator("script").count() == 2
    assert opened.messages == []
