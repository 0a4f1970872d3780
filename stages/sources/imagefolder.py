"""A folder of pictures, as people have them.

Its subfolders are classes, `cat/` or kohya's `10_cat/`; captions are in a table of file names, or
in text files beside the pictures. Both together give a picture its class and its caption.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from stages.config.mistakes import UserError, enumerate_keys, suggest
from stages.config.params import DataParams
from stages.sources.decoding import judge_file
from stages.sources.rows import read_rows, tidy_text
from stages.sources.source import Entry, Source, build_loader
from stages.sources.walking import (
    Found,
    Note,
    is_file,
    normalise,
    read_file,
    walk,
    word_missing,
)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff")
"""Files of these names are pictures; of any other name, if Pillow knows how they begin."""
TABLES = ("metadata.csv", "metadata.jsonl", "captions.csv", "captions.jsonl")
FILE_COLUMNS = ("file_name", "filename", "file", "image", "image_file", "path")
CAPTION_COLUMNS = ("text", "caption")
REPEATS = re.compile(r"^\d+_")
"""Before the name of kohya's folders: how often a picture counts."""
NUM_SHOWN = 5


def open_source(data: DataParams, classes: Sequence[str]) -> Source:
    """List the folder's pictures in the order of their names, or of the table.

    Raises:
        UserError: There is no such folder, or no picture in it.
        UserError: A subfolder is no class, or the table is wrong.
    """
    root = data.path
    if not root.is_dir():
        raise word_missing(root, "data.root", "folder")
    files, notes = walk(root)
    pictures, others = list_pictures(files)
    table = _find_table(root, others)
    known = {normalise(name): name for name in classes}
    if table:
        entries = _list_captioned(root, table, pictures, known, notes)
        others = [note for note in others if note.item != table.name]
    else:
        captions = _read_text_files(pictures, files)
        entries = _list_folders(root, pictures, captions, known, notes)
        used = {PurePosixPath(name).with_suffix(".txt").as_posix() for name in captions}
        others = [note for note in others if note.item not in used]
    places = {found.name: found.path for found in pictures}
    return open_files(str(root), entries, places, notes + others)


def open_files(
    name: str, entries: Sequence[Entry], places: Mapping[str, Path], notes: list[Note]
) -> Source:
    """Offer entries whose ids are names of files, found by `places`, or under the root."""

    def locate(index: int) -> Path:
        source_id = entries[index].source_id
        return places.get(source_id) or Path(name) / source_id

    def read(index: int) -> bytes:
        return read_file(locate(index))

    def show_path(index: int) -> str:
        return str(Path(name) / entries[index].source_id)

    return Source(name, entries, build_loader(entries, read, show_path, notes), notes)


def list_pictures(files: Sequence[Found]) -> tuple[list[Found], list[Note]]:
    """The files that are pictures, by their names or by how they begin; and the others."""
    reasons = [
        (found, "" if found.path.suffix.lower() in SUFFIXES else judge_file(found.path))
        for found in files
    ]
    pictures = [found for found, reason in reasons if not reason]
    return pictures, [Note(found.name, reason) for found, reason in reasons if reason]


def _find_table(root: Path, others: Sequence[Note]) -> Path | None:
    names = [name for name in TABLES if any(note.item == name for note in others)]
    if len(names) > 1:
        raise UserError(f"{root}: found {' and '.join(names)}; keep one of them")
    return root / names[0] if names else None


def _list_captioned(
    root: Path,
    table: Path,
    pictures: Sequence[Found],
    classes: Mapping[str, str],
    notes: list[Note],
) -> list[Entry]:
    columns, rows = read_rows(table)
    kinds = (FILE_COLUMNS, CAPTION_COLUMNS)
    wanted = [next((name for name in names if name in columns), None) for names in kinds]
    if rows and None in wanted:
        hint = "; separate columns by commas" if len(columns) == 1 else ""
        raise UserError(
            f"{rows[0][0]}: needs file_name and text (or caption), found {', '.join(columns)}{hint}"
        )
    names = {found.name for found in pictures}
    entries: dict[str, Entry] = {}
    for where, row in rows:
        file_name, caption = (row.get(column or "") for column in wanted)
        text = tidy_text(file_name, "file_name", where)
        name = _resolve(root, text, names, where)
        if name in entries:
            raise UserError(f"{where}: {text} is listed twice")
        caption = tidy_text(caption, f"text of {text}", where)
        entries[name] = Entry(name, _find_class(name, classes), caption)
    if not entries:
        raise UserError(f"{table}: lists no pictures")
    notes[:] = [note for note in notes if note.item not in entries]  # hidden, but asked for
    notes += [Note(name, f"not in {table.name}") for name in sorted(names - entries.keys())]
    return _use_classes_of_all(list(entries.values()), notes)


def _resolve(root: Path, file_name: str, names: set[str], where: str) -> str:
    """The name under the root of a file that a table names."""
    name = posixpath.normpath(normalise(file_name))
    if name.startswith(("/", "..")):
        raise UserError(f"{where}: {file_name} is outside {root}")
    if name not in names and not is_file(root / file_name):
        hint = suggest(name, names)
        raise UserError(f"{where}: no file {root / file_name}{hint}")
    return name


def _read_text_files(pictures: Sequence[Found], files: Sequence[Found]) -> dict[str, str]:
    """The caption of each picture that has a text file beside it, as kohya's tools do."""
    texts = {found.name: found.path for found in files if found.path.suffix == ".txt"}
    captions = {}
    for picture in pictures:
        path = texts.get(PurePosixPath(picture.name).with_suffix(".txt").as_posix())
        if path:
            try:
                text = read_file(path).decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise UserError(f"{path}: {error}; save it as UTF-8") from None
            captions[picture.name] = tidy_text(text, "caption", str(path))
    return captions


def _list_folders(
    root: Path,
    pictures: Sequence[Found],
    captions: Mapping[str, str],
    classes: Mapping[str, str],
    notes: list[Note],
) -> list[Entry]:
    entries = [
        Entry(found.name, _find_class(found.name, classes), captions.get(found.name))
        for found in pictures
    ]
    folders = {_get_folder(entry.source_id) for entry in entries if not entry.class_name} - {""}
    if folders and not captions:
        raise UserError(_word_unknown(root, sorted(folders), pictures, classes))
    if not entries or not any(entry.class_name or entry.caption for entry in entries):
        found = f"{len(entries)} pictures without class or caption" if entries else "no pictures"
        raise UserError(
            f"{root}: {found}; expected a subfolder for each of prepare.classes, or "
            f"{' or '.join(TABLES[:2])} with file_name and text, or a .txt beside each picture"
        )
    if captions:
        entries = _use_classes_of_all(entries, notes)
    reason = "no caption" if captions else "in no class's folder"
    notes += [Note(e.source_id, reason) for e in entries if not (e.class_name or e.caption)]
    taken = [entry for entry in entries if entry.class_name or entry.caption]
    repeated = {_get_folder(e.source_id) for e in taken if REPEATS.match(_get_folder(e.source_id))}
    notes += [
        Note(f"{folder}/", "number of repeats, which is not used")
        for folder in sorted(repeated)
        if folder not in classes
    ]
    return taken


def _get_folder(name: str) -> str:
    """The folder right under the root; "" for what lies there itself."""
    return name.partition("/")[0] if "/" in name else ""


def _find_class(name: str, classes: Mapping[str, str]) -> str | None:
    folder = _get_folder(name)
    return classes.get(folder) or classes.get(REPEATS.sub("", folder))


def _use_classes_of_all(entries: list[Entry], notes: list[Note]) -> list[Entry]:
    """The entries; where some lie in no class's folder, captions are all that counts."""
    num_classed = sum(entry.class_name is not None for entry in entries)
    if num_classed in (0, len(entries)):
        return entries
    reason = f"folders of classes, which {len(entries) - num_classed} pictures are not in: not used"
    notes.append(Note("prepare.classes", reason))
    return [entry._replace(class_name=None) for entry in entries]


def _word_unknown(
    root: Path, folders: Sequence[str], pictures: Sequence[Found], classes: Mapping[str, str]
) -> str:
    """Why folders are no classes, with the folder that was probably meant."""
    shown = enumerate_keys(folders[:NUM_SHOWN]) + (", …" if len(folders) > NUM_SHOWN else "")
    message = f"{root}: folder {shown} is none of prepare.classes ({', '.join(classes.values())})"
    parents = [parent for found in pictures for parent in PurePosixPath(found.name).parents]
    nested = sorted(
        {p.parent.as_posix() for p in parents if p.name in classes and len(p.parts) > 1}
    )
    if nested:
        return f"{message}; set data.root to {root / nested[0]}, which has folders of classes"
    tables = sorted(f for f in folders if any((root / f / name).is_file() for name in TABLES))
    if tables:
        return f"{message}; set data.root to {root / tables[0]}, which has a table of captions"
    guesses = "".join(suggest(folder, classes) for folder in folders[:1])
    return f"{message}{guesses}; rename it, add it to prepare.classes, or move it elsewhere"
