"""Files of captions beside pictures: which are read, and what is said of the others."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from stages.config.mistakes import UserError
from stages.sources.notes import Note
from stages.sources.walking import Found

TABLES = ("metadata.csv", "metadata.jsonl", "captions.csv", "captions.jsonl")
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
CAPTION_SUFFIXES = (".txt", ".caption")
CAPTION_REMEDY = "caption of a picture: name it as the picture, but .txt"
TABLE_REMEDY = (
    f"table, not used: captions are read from {' or '.join(TABLES)} right under data.root"
)


def explain_captions(
    others: Sequence[Note], pictures: Sequence[Found], of_one: str, of_many: str
) -> list[Note]:
    """The notes of other files; of captions with a reason of their own.

    Args:
        others: Of `list_pictures`.
        pictures: Of which a caption has the name.
        of_one: Why the caption of a picture is not used.
        of_many: Why a table is not.
    """
    names = {found.name for found in pictures}
    stems = names | {_drop_suffix(name) for name in names}

    def explain(note: Note) -> Note:
        path = PurePosixPath(note.item.lower())
        if path.suffix in TABLE_SUFFIXES or path.stem in ("metadata", "captions"):
            return note._replace(reason=of_many)
        if path.suffix in CAPTION_SUFFIXES and _drop_suffix(note.item) in stems:
            return note._replace(reason=of_one)
        return note

    return [explain(note) for note in others]


def _drop_suffix(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def find_table(root: Path, left_out: Sequence[Note], others: Sequence[Note]) -> Path | None:
    """The table of captions right under the root, if there is one.

    Raises:
        UserError: There are two, or it was left out: a link to nothing.
    """
    for name, reason in left_out:
        if name.lower() in TABLES:
            raise UserError(f"{root / name}: {reason}; bring the table, or take the link out")
    names = [note.item for note in others if note.item.lower() in TABLES]
    if len(names) > 1:
        raise UserError(f"{root}: found {' and '.join(names)}; keep one of them")
    return root / names[0] if names else None


def find_text_files(pictures: Sequence[Found], files: Sequence[Found]) -> dict[str, Found]:
    """The text file beside each picture that has one, as kohya's tools do."""
    texts = {_drop_suffix(f.name): f for f in files if f.path.suffix.lower() == ".txt"}
    return {p.name: texts[stem] for p in pictures if (stem := _drop_suffix(p.name)) in texts}
