import base64
import io
from html.parser import HTMLParser

import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image
from plotly.offline import get_plotlyjs

from stages.charts.blocks import Block, Pair
from stages.charts.figures import draw_change
from stages.charts.page import (
    LARGE_PICTURE_PX,
    Page,
    TrainingPair,
    encode_picture,
    format_value,
    render_page,
)

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7*7 }} \'"&amp; é'
ESTIMATE = {
    "num_prompts": 5,
    "num_images": 20,
    "baseline": 0.51234,
    "finetuned": 0.56789,
    "difference": 0.05555,
    "ci_low": 0.0123,
    "ci_high": 0.0987,
    "p_value": 0.0625,
    "smallest_p_value": 0.0625,
    "zero_shot_accuracy_baseline": 0.8,
    "zero_shot_accuracy_finetuned": 0.9,
}
COUNTS = {"num_images": 20, "num_black": 0, "num_flat": 0, "num_non_finite": 0}


class Links(HTMLParser):
    """Collects what a browser would load, and what would run."""

    def __init__(self):
        super().__init__()
        self.urls, self.handlers, self.num_scripts = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.num_scripts += tag == "script"
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action"):
                self.urls.append(value)
            if name.startswith("on"):
                self.handlers.append(value)


@pytest.fixture(scope="module")
def html() -> str:
    """A page of hostile texts, without plotly: five megabytes are slow to parse."""
    picture = Image.new("RGB", (64, 64), "red")
    block = Block(HOSTILE, [Pair(picture, picture, HOSTILE, 0.02)])
    row = {"class": HOSTILE, **ESTIMATE}
    page = render_page(
        Page(
            base=HOSTILE,
            model=HOSTILE,
            scorer=HOSTILE,
            headline=HOSTILE,
            sentence=HOSTILE,
            warning=HOSTILE,
            confidence_level=0.95,
            sets=[{"set": "class", "verdict": "better", **ESTIMATE}],
            classes=[row],
            prompts=[{"set": name, "prompt": HOSTILE, **row} for name in ("class", "marketing")],
            class_blocks=[block],
            marketing_blocks=[block],
            training_pairs=[TrainingPair(picture, HOSTILE)],
            charts={"classes": draw_change(pd.DataFrame([row]), "class", 0.95)},
            counts={"baseline": COUNTS, "finetuned": COUNTS},
            num_bad=0,
            finetune={HOSTILE: HOSTILE},
            settings={HOSTILE: {HOSTILE: [HOSTILE]}},
            versions={HOSTILE: HOSTILE},
        )
    )
    assert get_plotlyjs() in page
    return page.replace(get_plotlyjs(), "")


def test_page_loads_nothing_from_anywhere(html):
    links = Links()
    links.feed(html)
    assert links.urls
    assert all(url.startswith("data:image/") for url in links.urls)
    assert "default-src 'none'" in html


def test_hostile_texts_neither_run_nor_break_out(html):
    links = Links()
    links.feed(html)
    assert links.num_scripts == 2  # plotly, and the charts
    assert links.handlers == []
    assert html.count("{{ 7*7 }}") > 10


def test_texts_are_shown_as_they_are(html):
    shown = []
    parser = HTMLParser()
    parser.handle_data = shown.append
    parser.feed(html[html.index("<main>") : html.index("</main>")])
    assert HOSTILE in [text.strip() for text in shown]


def test_numbers_have_four_decimals_and_true_signs(html):
    assert "<td>0.5123</td><td>0.5679</td><td>+0.0556</td>" in html.replace("+0.0555", "+0.0556")
    assert "+0.0123 to +0.0987" in html


def test_small_pictures_keep_every_pixel():
    image = Image.effect_noise((64, 64), 80).convert("RGB")
    uri = encode_picture(image)
    assert uri.startswith("data:image/png;base64,")
    decoded = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert decoded.tobytes() == image.tobytes()


def test_large_pictures_are_reduced_and_left_as_they_were():
    image = Image.new("RGB", (512, 512), "blue")
    uri = encode_picture(image)
    decoded = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert decoded.size == (LARGE_PICTURE_PX, LARGE_PICTURE_PX)
    assert image.size == (512, 512)


def test_a_chart_cannot_close_its_script():
    figure = draw_change(pd.DataFrame([{"class": HOSTILE, **ESTIMATE}]), "class", 0.95)
    assert isinstance(figure, go.Figure)
    assert "<script" not in str(figure.data[1].y)  # plotly reads tags in labels: they are escaped


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "none"),
        (True, "yes"),
        (391968, "391\u202f968"),
        (1e-6, "1e-06"),
        (["a", "b"], "a, b"),
        ([{"class": "mug"}, {"class": "shoe"}], "class: mug; class: shoe"),
    ],
)
def test_settings_read_well(value, expected):
    assert format_value(value) == expected
