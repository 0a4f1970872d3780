"""The page of a study: pairs of pictures, two questions, votes that are saved as a file.

It is told nothing of whose the pictures are.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from stages.reporting.page import build_environment, write_json, write_policy
from stages.reporting.words import QUESTIONS

MAX_PAGE_BYTES = 15_000_000
PICTURE_BYTES = 10_500_000
"""Of all pictures together; base64 makes 14 MB of it, and the texts may have the rest."""
SECONDS_PER_ANSWER = 5

Shown = Sequence[Sequence[str]]
"""Of each trial its name, its text and the names of its pictures."""


class StudyPage(NamedTuple):
    """What the page is made from.

    Attributes:
        study: Its id.
        early: Trials of the first part, shown in any order.
        late: Those of the second.
        pictures: Files by name.
        mime: What they are.
        side_px: Of the pictures.
        questions: Keys of `QUESTIONS`.
        consent: Lines that are agreed to.
        header: Of the file of votes.
        answers: What the file calls the left picture, the right one and no difference.
    """

    study: str
    early: Shown
    late: Shown
    pictures: Mapping[str, bytes]
    mime: str
    side_px: int
    questions: Sequence[str]
    consent: Sequence[str]
    header: str
    answers: Sequence[str]


def render_study(page: StudyPage) -> str:
    """The page as HTML that opens offline and loads nothing."""
    environment = build_environment()
    script = environment.get_template("study.js.j2").render()
    num_pairs = len(page.early) + len(page.late)
    uris = {
        name: f"data:{page.mime};base64,{base64.b64encode(data).decode('ascii')}"
        for name, data in sorted(page.pictures.items())
    }
    data = {
        **page._asdict(),
        "pictures": uris,
        "questions": [[name, QUESTIONS[name]] for name in page.questions],
    }
    return environment.get_template("study.html.j2").render(
        page=page,
        num_pairs=num_pairs,
        questions=[QUESTIONS[name] for name in page.questions],
        minutes=max(1, round(num_pairs * len(page.questions) * SECONDS_PER_ANSWER / 60)),
        policy=write_policy([script]),
        script=Markup(script),
        data=Markup(write_json(data)),
    )
