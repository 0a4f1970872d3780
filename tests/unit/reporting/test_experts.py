import json
import re
from html import unescape
from pathlib import Path

import pytest

from stages.reporting.experts import NUM_SHOWN, shorten_layer
from tests.report_project import LAYERS, add_experts, write_report, write_results

SHORT = "up 1.2.attn2.to_k"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experts")
    write_results(folder)
    add_experts(folder)
    write_report(folder)
    return folder


@pytest.fixture
def page(folder: Path) -> str:
    return unescape((folder / "plots/report.html").read_text())


def find_section(page: str) -> str:
    return re.search(r'(?s)<section id="experts">.*?</section>', page)[0]


def test_the_section_and_the_summary_say_whether_experts_specialise(
    folder: Path, page: str
) -> None:
    found = "Training made experts specialise by class: the class of an in-domain prompt tells"
    assert found in find_section(page)
    assert found in (folder / "plots/report.md").read_text()
    assert 'href="#experts"' in page


def read_tables(text: str) -> list[list[list[str]]]:
    """The cells of each row of each table."""
    return [
        [
            re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
            for row in re.findall(r"(?s)<tr>(.*?)</tr>", table)
        ]
        for table in re.findall(r"(?s)<table>(.*?)</table>", text)
    ]


def test_the_tables_have_the_most_telling_layers_and_each_class_in_the_first(page: str) -> None:
    layers, groups = read_tables(find_section(page))
    assert len(layers) - 1 == NUM_SHOWN / 3 < len(LAYERS)
    assert layers[1][0] == groups[0][0] == SHORT
    assert float(layers[1][1]) > 0.05
    assert layers[1][2] == layers[2][1] == "0.0000"
    assert [row[0] for row in groups[1::10]] == ["airplane", "marketing prompts"]
    assert groups[2] == ["automobile", "0.250", "0.500", "0.250"]


def test_the_chart_has_each_class_by_the_experts_of_these_layers(page: str) -> None:
    data = re.search(r'(?s)id="charts">(.*?)</script>', page)[1]
    (heat,) = json.loads(data)["experts"]["data"]
    assert len(heat["x"]) == 11
    assert heat["y"][-4:] == [
        f"{shorten_layer(LAYERS[0])}, 1",  # plotly counts rows from below
        *(f"{SHORT}, {n}" for n in (3, 2, 1)),
    ]
    automobile = [row[heat["x"].index("automobile")] for row in heat["z"]]
    assert automobile[-2] > 0.1
    assert automobile[-1] < 0
    assert automobile[:-3] == [0] * 21


def test_without_experts_no_line_of_the_report_is_of_them(tmp_path: Path) -> None:
    write_results(tmp_path)
    page = write_report(tmp_path) + (tmp_path / "plots/report.md").read_text()
    for text in ("#experts", 'id="experts"', "chart-experts", '"experts":', "bits of the expert"):
        assert text not in page


@pytest.mark.parametrize(
    ("layer", "short"),
    [
        ("down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k", "down 0.1.attn2.to_k"),
        ("mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0", "mid 0.attn1.to_out.0"),
        ("up_blocks.3.resnets.1.time_emb_proj", "up 3.resnets.1.time_emb_proj"),
    ],
)
def test_the_name_of_a_layer_is_short(layer: str, short: str) -> None:
    assert shorten_layer(layer) == short
