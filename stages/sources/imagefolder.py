"""A folder of pictures, as people have them.

Its subfolders are classes, `cat/` or kohya's `10_cat/`; captions are in a table of file names, or
in text files beside the pictures. Both together give a picture its class and its caption.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from stages.config.mistakes import UserError, enumerate_keys, suggest
from stages.config.notation import format_count
from stages.config.params import DataParams
from stages.sources.captions import (
    CAPTION_REMEDY,
    TABLE_REMEDY,
    TABLES,
    explain_captions,
    find_table,
    find_text_files,
)
from stages.sources.decoding import judge_file
from stages.sources.notes import Note, summarise
from stages.sources.rows import check_characters, read_rows, read_text, tidy_text
from stages.sources.source import NO_CAPTION, Entry, Source, build_loader
from stages.sources.walking import (
    Found,
    is_file,
    is_folder,
    normalise,
    read_file,
    walk,
    word_missing,
)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff")
"""Files of these names are pictures; of any other name, if they begin as one."""
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
    if not is_folder(root):
        raise word_missing(root, "data.root", "folder")
    files, notes = walk(root)
    pictures, others = list_pictures(files)
    table = find_table(root, notes, others)
    known = {normalise(name): name for name in classes}
    if table:
        entries = _list_captioned(root, table, pictures, known, notes)
        others = [note for note in others if note.item != table.name]
        reason = f"captions beside {table.name}, which has them: not used"
        others = explain_captions(others, pictures, reason, reason)
    else:
        texts = find_text_files(pictures, files)
        used = {found.name for found in texts.values()}
        others = [note for note in others if note.item not in used]
        others = explain_captions(others, pictures, CAPTION_REMEDY, TABLE_REMEDY)
        captions = {name: _read_caption(found.path) for name, found in texts.items()}
        entries = _list_folders(root, pictures, captions, known, notes, others)
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

    load_image = build_loader(entries, read, show_path, notes)
    return Source(name, entries, load_image, notes, name_place=show_path)


def list_pictures(files: Sequence[Found]) -> tuple[list[Found], list[Note]]:
    """The files that are pictures, by their names or by how they begin; and the others."""
    reasons = [
        (found, "" if found.path.suffix.lower() in SUFFIXES else judge_file(found.path))
        for found in files
    ]
    pictures = [found for found, reason in reasons if not reason]
    return pictures, [Note(found.name, reason) for found, reason in reasons if reason]


def _list_captioned(
    root: Path,
    table: Path,
    pictures: Sequence[Found],
    classes: Mapping[str, str],
    notes: list[Note],
) -> list[Entry]:
    header, columns, rows = read_rows(table)
    kinds = [[c for c in known if c in columns] for known in (FILE_COLUMNS, CAPTION_COLUMNS)]
    if columns and not all(kinds):
        raise UserError(
            f"{header}: needs file_name and text (or caption), found {', '.join(columns)}"
        )
    notes += [
        Note(table.name, f"columns {' and '.join(found)}: {found[0]} is used")
        for found in kinds
        if len(found) > 1
    ]
    if unread := [c for c in columns if c and c not in kinds[0] + kinds[1]]:
        notes.append(Note(table.name, f"columns not used: {enumerate_keys(unread)}"))
    names = {found.name for found in pictures}
    entries: dict[str, Entry] = {}
    for where, row in rows:
        file_name, caption = (row.get(found[0]) for found in kinds)
        text = check_name(file_name, where)
        name = resolve_name(root, text, names, where)
        if name in entries:
            raise UserError(f"{where}: {text} is listed twice; drop one row")
        caption = tidy_text(caption, f"text of {text}", where)
        entries[name] = Entry(name, _find_class(name, classes), caption)
    if not entries:
        raise UserError(f"{table}: lists no pictures; add rows, or take it out")
    notes[:] = [note for note in notes if note.item not in entries]  # hidden, but asked for
    notes += [Note(name, f"not in {table.name}") for name in sorted(names - entries.keys())]
    return _use_classes_of_all(list(entries.values()), notes)


def check_name(value: object, where: str) -> str:
    """A name as it is: a Mac's screenshots have a narrow blank, which is another than " "."""
    tidy_text(value, "file_name", where)
    name = str(value).strip()
    check_characters(name, "file_name", where)
    return name


def resolve_name(root: Path, file_name: str, names: set[str], where: str) -> str:
    """The name under the root of a file that a table names."""
    name = posixpath.normpath(normalise(file_name))
    if name.startswith("/") and (inside := posixpath.relpath(name, normalise(str(root)))) in names:
        raise UserError(f"{where}: {file_name} is an absolute name; write {inside}")
    if name.startswith("/") or name.split("/")[0] == "..":
        raise UserError(
            f"{where}: {file_name} is outside {root}; write a name under it, or drop the row"
        )
    if name not in names and not is_file(root / file_name):
        hint = suggest(name, names) or "; correct the name, or drop the row"
        raise UserError(f"{where}: no file {root / file_name}{hint}")
    return name


def _read_caption(path: Path) -> str:
    return tidy_text(read_text(path), "caption", str(path))


def _list_folders(
    root: Path,
    pictures: Sequence[Found],
    captions: Mapping[str, str],
    classes: Mapping[str, str],
    notes: list[Note],
    others: Sequence[Note],
) -> list[Entry]:
    entries = [
        Entry(found.name, _find_class(found.name, classes), captions.get(found.name))
        for found in pictures
    ]
    folders = {_get_folder(entry.source_id) for entry in entries if not entry.class_name} - {""}
    if folders and not captions:
        raise UserError(_word_unknown(root, sorted(folders), pictures, classes))
    if not entries or not any(entry.class_name or entry.caption for entry in entries):
        num_pictures = format_count(len(entries), "picture")
        found = f"{num_pictures} without class or caption" if entries else "no pictures"
        raise UserError(
            f"{root}: {found}; expected a subfolder for each of prepare.classes, or "
            f"{' or '.join(TABLES[:2])} with file_name and text, or a .txt beside each picture"
            f"{summarise([*notes, *others])}"
        )
    if captions:
        entries = _use_classes_of_all(entries, notes)
    reason = "no caption" if captions else "in no class's folder"
    notes += [Note(e.source_id, reason) for e in entries if not (e.class_name or e.caption)]
    if captions:
        notes += [Note(e.source_id, NO_CAPTION) for e in entries if e.class_name and not e.caption]
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
    outside = format_count(len(entries) - num_classed, "picture")
    reason = f"folders of classes, not used: {outside} outside of them"
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
    tables = sorted(f for f in folders if any(is_file(root / f / name) for name in TABLES))
    if tables:
        return f"{message}; set data.root to {root / tables[0]}, which has a table of captions"
    guesses = "".join(suggest(folder, classes) for folder in folders[:1])
    return f"{message}{guesses}; rename it, add it to prepare.classes, or move it elsewhere"
