"""A Chromium of the system, driven by playwright, and the pages that are opened in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from tests.hostile import list_hostile_prompts
from tests.hostile_project import build_hostile_project, run_stages
from tests.report_project import write_report, write_results

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGS = [
    "--no-sandbox",  # root, as in CI's containers, may not have one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS_PX = {"phone": 390, "desktop": 1280}


class Opened(NamedTuple):
    """A page in the browser, what its console said and what it asked the network for."""

    page: Page
    messages: list[str]
    requests: list[str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser; without one, tests are skipped, but fail in CI."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        reason = f"no browser: none of {', '.join(NAMES)} is on PATH; apt-get install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the shipped prompts, with two collapsed pictures."""
    folder = tmp_path_factory.mktemp("report")
    write_results(folder, num_bad=1)
    write_report(folder)
    return folder / "plots/report.html"


@pytest.fixture(scope="session")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose prompts and class names try to leave their place."""
    folder = tmp_path_factory.mktemp("hostile")
    write_results(folder, prompts=list_hostile_prompts(), num_bad=1)
    write_report(folder)
    return folder / "plots/report.html"


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose classes, captions and prompts are hostile, after all stages."""
    folder = tmp_path_factory.mktemp("above") / "project"
    folder.mkdir()
    num_threads = torch.get_num_threads()
    build_hostile_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_stages()
    torch.set_num_threads(num_threads)
    return folder


@pytest.fixture(scope="session")
def desktop(browser: Browser, report: Path) -> Iterator[Page]:
    """The report, opened once for the tests that leave it as it was."""
    page = browser.new_page(viewport={"width": WIDTHS_PX["desktop"], "height": 900})
    page.goto(report.as_uri())
    yield page
    page.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """A function that opens a file: path, width ("phone" or "desktop"), colour scheme."""
    contexts = []

    def open_file(path: Path, width: str = "desktop", scheme: str = "light") -> Opened:
        size = {"width": WIDTHS_PX[width], "height": 900}
        context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        opened = Opened(page, [], [])
        page.on("console", lambda message: opened.messages.append(message.text))
        page.on("pageerror", lambda error: opened.messages.append(str(error)))
        page.on("request", lambda request: opened.requests.append(request.url))
        page.goto(path.as_uri())
        return opened

    yield open_file
    for context in contexts:
        context.close()
