"""data/subject.json: what the method learns from outside of the pairs; empty for most methods.

That is the subject that it teaches, and how; and for method import a digest of the files. So a
change of `subject` makes nothing run again unless the method teaches it, and one of the files does.
"""

from pathlib import Path
from typing import NamedTuple

from stages.config.params import Params, SubjectParams
from stages.files.captions import fill_template
from stages.files.tables import read_json, write_json


class Taught(NamedTuple):
    """A subject that textual_inversion or dreambooth learns, or whose word is imported."""

    method: str
    subject: SubjectParams

    @property
    def learned(self) -> str:
        """What the fine-tuned model is to call the subject.

        The new word (Gal et al. 2022), or a rare one in front of the class (Ruiz et al. 2023,
        section 3.2).
        """
        if self.method == "dreambooth":
            return f"{self.subject.identifier} {self.subject.class_name}"
        return self.subject.placeholder

    @property
    def class_captions(self) -> list[str]:
        """The captions of the subject's class, which dreambooth preserves."""
        return [
            fill_template(text, self.subject.class_name) for text in self.subject.caption_templates
        ]


def name_taught(params: Params, is_word: bool = False) -> Taught | None:
    """What the method of the params teaches, or what is imported if it is a word; else None."""
    if params.finetune.learns_subject or is_word:
        return Taught(params.finetune.method, params.subject)
    return None


def write_taught(taught: Taught | None, path: Path, digest: str = "") -> None:
    """Write what is taught, and the digest of what is imported, if anything is."""
    values = {"method": taught.method, "subject": taught.subject.model_dump()} if taught else {}
    write_json(values | ({"imported": digest} if digest else {}), path)


def read_taught(path: Path) -> Taught | None:
    """Read it; None where the method teaches no subject."""
    values = read_json(path, "preflight")
    if "subject" not in values:
        return None
    return Taught(values["method"], SubjectParams(**values["subject"]))
