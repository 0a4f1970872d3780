"""The report: one self-contained HTML page that opens offline, dark or light, on phone or paper.

Every text is escaped; a content security policy lets the page load nothing from anywhere.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from PIL import Image
from plotly.offline import get_plotlyjs

from stages.artifacts import notation
from stages.charts.blocks import Block
from stages.charts.figures import BASELINE, FINETUNED

LOSSLESS_UP_TO_PX = 128
LARGE_PICTURE_PX = 192
"""Side to which larger pictures are reduced, as WebP: the page stays under 15 MB."""


class TrainingPair(NamedTuple):
    """A picture that was trained on and its caption."""

    picture: Image.Image
    caption: str


@dataclass(frozen=True)
class Page:
    """All that the page says; rows are those of the tables that `compare` writes."""

    base: str
    model: str
    scorer: str
    headline: str
    sentence: str
    warning: str
    confidence_level: float
    sets: Sequence[Mapping[str, Any]]
    classes: Sequence[Mapping[str, Any]]
    prompts: Sequence[Mapping[str, Any]]
    class_blocks: Sequence[Block]
    marketing_blocks: Sequence[Block]
    training_pairs: Sequence[TrainingPair]
    charts: Mapping[str, go.Figure]
    counts: Mapping[str, Mapping[str, Any]]
    num_bad: int
    finetune: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]


def render_page(page: Page) -> str:
    """The whole page as HTML, plotly inside."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stages.charts", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": notation.format_number,
        "signed": notation.format_signed,
        "p_value": notation.format_p_value,
        "value": format_value,
        "picture": encode_picture,
    }
    environment.globals["interval"] = notation.format_interval
    return environment.get_template("page.html.j2").render(
        page=page,
        charts=Markup(_write_charts(page.charts)),
        plotly=Markup(get_plotlyjs()),
        baseline_colour=BASELINE,
        finetuned_colour=FINETUNED,
    )


def encode_picture(image: Image.Image) -> str:
    """A picture as a data URI: PNG, or a reduced WebP if it is larger than 128 px."""
    kind, options = "png", dict[str, Any](optimize=True)
    if max(image.size) > LOSSLESS_UP_TO_PX:
        image = image.copy()
        image.thumbnail((LARGE_PICTURE_PX, LARGE_PICTURE_PX), Image.Resampling.LANCZOS)
        kind, options = "webp", {"quality": 90}
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def format_value(value: object) -> str:
    """A setting or measurement, as short as it reads well."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")  # a narrow space, as in 391 968
    if isinstance(value, list | tuple):
        separator = "; " if any(isinstance(item, Mapping) for item in value) else ", "
        return separator.join(format_value(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {format_value(item)}" for key, item in value.items())
    return str(value)


def _write_charts(charts: Mapping[str, go.Figure]) -> str:
    """A JavaScript object, chart name to figure; no `<` in it could close the script."""
    figures = ",\n".join(f'"{name}": {figure.to_json()}' for name, figure in charts.items())
    return "{" + figures.replace("<", "\\u003c").replace("\u2028", "").replace("\u2029", "") + "}"
