"""The report: one self-contained HTML page that opens offline, dark or light, on phone or paper.

Every text is escaped; a content security policy lets the page load nothing from anywhere, and run
no script but the two that are hashed in it.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from stages.config import notation
from stages.files.facts import Facts
from stages.reporting import words
from stages.reporting.beside import BESIDE, STARTS, Pairing
from stages.reporting.blocks import Block
from stages.reporting.evidence import Correlations, Disagreement, Rows
from stages.reporting.experts import ShownExperts
from stages.reporting.preference import ShownPreference
from stages.reporting.style import BASELINE, FINETUNED
from stages.reporting.subject import ShownSubject


class About(NamedTuple):
    """What ran, and the verdict in words.

    Attributes:
        handed_in: Where the pictures of each variant are from, if they were not sampled.
        pairing: What both pictures of a pair share.
    """

    base: str
    model: str
    scorer: str
    headline: str
    sentence: str
    warning: str
    confidence_level: float
    settings: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]
    handed_in: Mapping[str, str] = {}
    pairing: Pairing = "noise"


@dataclass(frozen=True)
class Page:
    """All that the page says; rows are those of the tables that `compare` writes.

    Pictures are named "baseline/FILE", "finetuned/FILE" and "train/ID": keys of `pictures`.
    """

    about: About
    sets: Rows
    papers_sets: Rows
    classes: Rows
    prompts: Rows
    marketing: Rows
    forgetting: Rows
    metrics: Mapping[str, Rows]
    facts: Mapping[str, Facts]
    correlations: Sequence[Correlations]
    disagreements: Sequence[Disagreement]
    collapsed: Rows
    num_collapsed: int
    memorised: Rows
    class_blocks: Sequence[Block]
    marketing_blocks: Sequence[Block]
    pictures_of: Mapping[str, Rows]
    training_pairs: Rows
    left_out: Rows
    num_left_out: int
    details: Mapping[str, Any]
    pictures: Mapping[str, str]
    charts: Mapping[str, go.Figure]
    counts: Mapping[str, Mapping[str, Any]]
    finetune: Mapping[str, Any]
    cost: Mapping[str, float]
    subject: ShownSubject | None
    preference: ShownPreference | None
    experts: ShownExperts | None


def render_page(page: Page) -> str:
    """The whole page as HTML, plotly inside."""
    environment = build_environment()
    scripts = {
        "plotly": get_plotlyjs(),
        "script": environment.get_template("script.js.j2").render(),
    }
    data = {
        "charts": _write_charts(page.charts),
        "details": write_json(page.details),
        "pictures": write_json(page.pictures),
    }
    return environment.get_template("page.html.j2").render(
        page=page,
        policy=write_policy(scripts.values()),
        **{name: Markup(text) for name, text in (scripts | data).items()},
        baseline_colour=BASELINE,
        finetuned_colour=FINETUNED,
    )


def format_value(value: object) -> str:
    """A setting or measurement, as short as it reads well."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return notation.MISSING if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")  # a narrow space, as in 391 968
    if isinstance(value, list | tuple):
        separator = "; " if any(isinstance(item, Mapping) for item in value) else ", "
        return separator.join(format_value(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {format_value(item)}" for key, item in value.items())
    return str(value)


@cache
def build_environment() -> jinja2.Environment:
    """Templates beside this module, with what writes numbers; every text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stages.reporting", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": notation.format_number,
        "signed": notation.format_signed,
        "p_value": notation.format_p_value,
        "set": notation.word_set,
        "effect": words.word_effect_size,
        "sensitivity": words.word_sensitivity,
        "remedy": words.word_remedy,
        "join_units": words.join_units,
        "value": format_value,
        "shorten": words.shorten,
    }
    environment.globals |= {
        "interval": notation.format_interval,
        "share_interval": notation.format_share_interval,
        "directions": words.DIRECTIONS,
        "trained": words.TRAINED,
        "paper": words.PAPERS_RESULT,
        "papers_base": words.PAPERS_BASE,
        "beside": BESIDE,
        "starts": STARTS,
    }
    return environment


def write_policy(scripts: Iterable[str]) -> str:
    """Nothing is loaded, and no script runs but these, known by their hashes."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in scripts)
    allowed = " ".join(f"'sha256-{value.decode('ascii')}'" for value in hashes)
    return (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {allowed}; base-uri 'none'; form-action 'none'"
    )


def write_json(values: Mapping[str, Any]) -> str:
    """Values as JSON that may stand in a script."""
    return _close_safely(json.dumps(values, ensure_ascii=False, allow_nan=False))


def _write_charts(charts: Mapping[str, go.Figure]) -> str:
    figures = ",\n".join(f'"{name}": {figure.to_json()}' for name, figure in charts.items())
    return _close_safely(f"{{{figures}}}")


def _close_safely(text: str) -> str:
    r"""JSON in which no `<` could close its script: `\u003c` is the same string."""
    return text.replace("<", "\\u003c")
