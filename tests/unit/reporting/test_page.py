import json
import math
import re
from html import unescape
from html.parser import HTMLParser

import pandas as pd
import pytest
from PIL import Image

from stages.config.notation import MINUS
from stages.reporting.blocks import MAX_PROMPTS
from stages.reporting.evidence import NUM_MEMORISED
from stages.reporting.page import format_value
from stages.reporting.words import shorten
from stages.run.cost import Cost, write_cost
from tests.hostile import HOSTILE, list_hostile_prompts
from tests.report_project import write_report, write_results


class Links(HTMLParser):
    """Collects what a browser would load, and what would run."""

    def __init__(self):
        super().__init__()
        self.urls, self.handlers, self.scripts, self.texts = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag == "script":
            self.scripts.append(dict(attrs).get("type", "text/javascript"))
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action"):
                self.urls.append(value)
            if name.startswith("on"):
                self.handlers.append(value)

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> str:
    """A page of hostile texts."""
    folder = tmp_path_factory.mktemp("hostile")
    write_results(folder, prompts=list_hostile_prompts(), num_bad=1)
    return write_report(folder)


@pytest.fixture(scope="module")
def links(html) -> Links:
    links = Links()
    links.feed(re.sub(r"(?s)<script>.*?</script>", "<script></script>", html))
    return links


def test_costs_of_training_and_both_variants_add_up(tmp_path):
    write_results(tmp_path)
    write_cost(Cost(100.0, 1.0, False, 900.0), tmp_path / "plots/data/cost_finetune.json")
    write_cost(Cost(20.0, 0.5, False, 1200.0), tmp_path / "plots/data/cost_sample_baseline.json")
    write_cost(Cost(30.0, 0.25, False, 800.0), tmp_path / "plots/data/cost_sample_finetuned.json")
    page = write_report(tmp_path)
    cost = json.loads((tmp_path / "metrics/cost.json").read_text())
    assert cost == {
        "trained_parameters": 391968,
        "checkpoint_bytes": 1573692,
        "training_s": 100.0,
        "sampling_s": 50.0,
        "peak_memory_mib": 1200.0,
        "energy_wh": 1.75,
    }
    assert "<dt>energy</dt><dd>1.75 Wh</dd>" in page


def test_energy_of_which_a_part_is_estimated_is_called_so(tmp_path):
    write_results(tmp_path)
    write_cost(Cost(20.0, 0.5, True, 1200.0), tmp_path / "plots/data/cost_sample_baseline.json")
    page = write_report(tmp_path)
    cost = json.loads((tmp_path / "metrics/cost.json").read_text())
    assert "energy_wh_estimated" in cost
    assert "energy_wh" not in cost
    assert "<dt>energy, estimated</dt>" in page


def test_page_loads_nothing_from_anywhere(html, links):
    assert links.urls
    assert all(url.startswith("#") for url in links.urls)
    assert "default-src 'none'" in unescape(html)
    assert "script-src 'sha256-" in unescape(html)


def test_hostile_texts_neither_run_nor_break_out(links):
    assert links.scripts == ["application/json"] * 3 + ["text/javascript"] * 2
    assert links.handlers == []


def test_texts_are_shown_as_they_are(links):
    assert HOSTILE in links.texts


def test_a_prompt_of_ten_thousand_characters_is_there_whole_and_once(html):
    assert html.count("long " * 2000) == 2  # in the list, and in what an enlarged pair shows


def test_data_cannot_close_its_script(html):
    for name in ("charts", "details", "pictures"):
        start = html.index(f'id="{name}">') + len(f'id="{name}">')
        text = html[start : html.index("</script>", start)]
        assert "<" not in text
        json.loads(text)


def test_numbers_have_true_signs(html):
    assert re.search(r"<td>[+\u2212]0\.\d{4}</td>", html)
    assert not re.search(r"<td>-0\.\d", html)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "none"),
        (True, "yes"),
        (391968, "391\u202f968"),
        (1e-6, "1e-06"),
        (math.nan, "\N{EN DASH}"),
        (["a", "b"], "a, b"),
        ([{"class": "mug"}, {"class": "shoe"}], "class: mug; class: shoe"),
    ],
)
def test_settings_read_well(value, expected):
    assert format_value(value) == expected


def test_only_long_prompts_are_cut_where_they_name_a_picture():
    assert shorten("a cat") == "a cat"
    assert len(shorten("a" * 500)) == 80


def test_the_papers_figures_stand_beside_those_of_its_base_alone(html, tmp_path):
    write_results(tmp_path)
    params = tmp_path / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert "\nbase: tiny " in text
    params.write_text(text.replace("\nbase: tiny ", "\nbase: sd15 "), encoding="utf-8")
    page = write_report(tmp_path)
    row = page[page.index("the paper, Table 1") :].partition("</tr>")[0]
    cells = re.findall(r"<td>([^<]+)</td>", row)
    assert cells == ["0.2452 → 0.2443", f"{MINUS}0.0009"]
    assert "far inside the noise" in page
    assert "Table 1" not in html


def test_of_many_prompts_the_page_lists_those_that_it_shows_and_counts_all(tmp_path):
    sets = ["in_domain"] * 120 + ["marketing"] * 240
    prompts = pd.DataFrame({"set": sets, "class": "cat"})
    prompts["prompt_id"] = [f"p{number}" for number in prompts.index]
    prompts["prompt"] = [f"a cat with {number} legs" for number in prompts.index]
    write_results(tmp_path, num_in_domain=1, num_marketing=1, side_px=8, prompts=prompts)
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text().replace("max_pictures: 2000", "max_pictures: 180"))
    html = write_report(tmp_path)
    num_listed = html.count('<details class="prompt"')
    assert 180 <= num_listed <= 180 + NUM_MEMORISED
    assert f"lists {num_listed} prompts of 360;" in html
    assert f"({MAX_PROMPTS} of 120 prompts, spread evenly)" in html
    assert "(100 of 240 prompts, spread evenly)" in html
    for grid in (tmp_path / "plots/grids").iterdir():
        with Image.open(grid) as image:
            assert max(image.size) < 15_000


def test_a_page_that_shows_all_prompts_says_nothing_of_a_choice(html):
    assert "spread evenly" not in html


def test_what_sources_left_out_is_listed_with_its_reason(html):
    text = html[html.index("1 files, captions or prompts were not taken as they are") :]
    assert "._x.png" in text[:1000]
    assert "hidden" in text[:1000]
