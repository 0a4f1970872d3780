"""data/subject.json: what is learned from outside of the pairs; empty for most experiments.

That is the subject, and how it is called; and for method import a digest of the files. So a change
of `subject` makes nothing run again unless it is learned, and one of the files does.
"""

from pathlib import Path
from typing import NamedTuple

from stages.config.params import Params, SubjectParams
from stages.files.captions import fill_template
from stages.files.tables import read_json, write_json


class Taught(NamedTuple):
    """A subject that is learned from a few pictures, here or before the import.

    Attributes:
        is_word: Whether a new word is learned for it, and nothing else.
        subject: The section `subject`.
    """

    is_word: bool
    subject: SubjectParams

    @property
    def learned(self) -> str:
        """What the fine-tuned model is to call the subject.

        The new word (Gal et al. 2022), or a rare one in front of the class (Ruiz et al. 2023,
        section 3.2).
        """
        if self.is_word:
            return self.subject.placeholder
        return f"{self.subject.identifier} {self.subject.class_name}"

    @property
    def class_captions(self) -> list[str]:
        """The captions of the subject's class, which its prior preserves."""
        return [
            fill_template(text, self.subject.class_name) for text in self.subject.caption_templates
        ]


def name_taught(params: Params, imports_word: bool = False) -> Taught | None:
    """The subject that is learned, or whose word is imported; None if there is none."""
    is_word = imports_word or params.finetune.method == "textual_inversion"
    if params.finetune.learns_subject or is_word:
        return Taught(is_word, params.subject)
    return None


def write_taught(taught: Taught | None, path: Path, digest: str = "") -> None:
    """Write what is taught, and the digest of what is imported, if anything is."""
    values = {"is_word": taught.is_word, "subject": taught.subject.model_dump()} if taught else {}
    write_json(values | ({"imported": digest} if digest else {}), path)


def read_taught(path: Path) -> Taught | None:
    """Read it; None where no subject is learned."""
    values = read_json(path, "preflight")
    if "subject" not in values:
        return None
    return Taught(values["is_word"], SubjectParams(**values["subject"]))
