"""data/subject.json: the subject that the method teaches, and how; empty for most methods.

So a change of `subject` makes nothing run again unless the method teaches it.
"""

from pathlib import Path
from typing import NamedTuple

from stages.config.params import Params, SubjectParams
from stages.files.captions import fill_template
from stages.files.tables import read_json, write_json


class Taught(NamedTuple):
    """A subject that textual_inversion or dreambooth learns."""

    method: str
    subject: SubjectParams

    @property
    def learned(self) -> str:
        """What the fine-tuned model is to call the subject.

        The new word (Gal et al. 2022), or a rare one in front of the class (Ruiz et al. 2023,
        section 3.2).
        """
        if self.method == "textual_inversion":
            return self.subject.placeholder
        return f"{self.subject.identifier} {self.subject.class_name}"

    @property
    def class_captions(self) -> list[str]:
        """The captions of the subject's class, which dreambooth preserves."""
        return [
            fill_template(text, self.subject.class_name) for text in self.subject.caption_templates
        ]


def write_taught(params: Params, path: Path) -> None:
    """Write what the method of the params teaches."""
    taught = {"method": params.finetune.method, "subject": params.subject.model_dump()}
    write_json(taught if params.finetune.learns_subject else {}, path)


def read_taught(path: Path) -> Taught | None:
    """Read it; None where the method teaches no subject."""
    values = read_json(path, "preflight")
    return Taught(values["method"], SubjectParams(**values["subject"])) if values else None
