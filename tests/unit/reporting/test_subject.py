import json
import re
from collections import Counter
from html import unescape
from pathlib import Path

import pytest

from tests.report_project import write_report, write_results


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("subject")
    write_results(folder, has_subject=True)
    return unescape(write_report(folder))


def find_section(page: str) -> str:
    return re.search(r'(?s)<section id="subject">.*?</section>', page)[0]


def test_the_numbers_of_the_subject_are_told_with_interval_and_count(page: str) -> None:
    text = find_section(page)
    for number in ("0.5000", "0.8125", "+0.3125", "+0.2500 to +0.3750", "0.9375", "2 prompts"):
        assert number in text


def test_every_picture_that_is_named_is_in_the_page(page: str) -> None:
    named = re.findall(r'data-picture="([^"]+)"', find_section(page))
    data = json.loads(re.search(r'(?s)id="pictures">(.*?)</script>', page)[1])
    assert set(named) <= set(data)
    folders = Counter(name.split("/")[0] for name in named)
    # Two that were taught, and the first two pictures of each of two prompts.
    assert folders == {"train": 2, "baseline": 4, "finetuned": 4}


def test_without_a_subject_there_is_no_such_section(tmp_path: Path) -> None:
    write_results(tmp_path)
    assert 'id="subject"' not in write_report(tmp_path)
