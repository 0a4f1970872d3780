"""A folder of pictures: a subfolder for each class, or captions in metadata.csv or metadata.jsonl.

The metadata has a picture's path under the folder as `file_name` and its caption as `text`, as in
the Hugging Face layout; such pictures have no class.
"""

import csv
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from stages.config.mistakes import UserError
from stages.config.params import DataParams
from stages.files.images import decode_image
from stages.sources.source import Entry, Source, tidy_caption

logger = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
METADATA = ("metadata.csv", "metadata.jsonl")


def open_source(data: DataParams, classes: Sequence[str]) -> Source:
    """List the folder's pictures in the order of their names, or of the metadata.

    Raises:
        UserError: There is no such folder, or a listed picture is missing.
        UserError: It is empty, has a subfolder that is no class, or its metadata is wrong.
    """
    root = data.path
    if not root.is_dir():
        raise UserError(f"source imagefolder: no folder {root}; set data.root to one")
    tables = [root / name for name in METADATA if (root / name).is_file()]
    if len(tables) > 1:
        raise UserError(f"{root}: found {' and '.join(METADATA)}; keep one of them")
    entries = _list_captioned(root, tables[0]) if tables else _list_classes(root, classes)

    def load_image(index: int) -> Image.Image:
        path = root / entries[index].source_id
        return decode_image(path.read_bytes(), str(path))

    return Source(str(root), entries, load_image)


def _list_classes(root: Path, classes: Sequence[str]) -> list[Entry]:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    unknown = [folder.name for folder in folders if folder.name not in classes]
    if unknown:
        raise UserError(
            f"{root}: folder {', '.join(unknown)} is none of prepare.classes ({', '.join(classes)})"
        )
    paths = [(path, folder.name) for folder in folders for path in sorted(folder.rglob("*"))]
    entries = [
        Entry(path.relative_to(root).as_posix(), name)
        for path, name in paths
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not entries:
        raise UserError(
            f"{root}: no pictures; expected a subfolder for each of prepare.classes, or "
            f"{' or '.join(METADATA)} with file_name and text"
        )
    num_others = sum(path.is_file() for path, _ in paths) - len(entries)
    if num_others:
        logger.warning("%s: %d files are no pictures and are left out", root, num_others)
    return entries


def _list_captioned(root: Path, table: Path) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for line, row in _read_metadata(table):
        where = f"{table}, line {line}"
        file_name, caption = row.get("file_name"), row.get("text")
        if not isinstance(file_name, str) or not isinstance(caption, str):
            raise UserError(f"{where}: needs file_name and text, found {json.dumps(row)}")
        if file_name in entries:
            raise UserError(f"{where}: {file_name} is listed twice")
        if not tidy_caption(caption):
            raise UserError(f"{where}: the text of {file_name} is empty")
        _check_inside(root, file_name, where)
        entries[file_name] = Entry(file_name, None, tidy_caption(caption))
    if not entries:
        raise UserError(f"{table}: lists no pictures")
    return list(entries.values())


def _check_inside(root: Path, file_name: str, where: str) -> None:
    path = root / file_name
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{where}: {file_name} is outside {root}")
    if not path.is_file():
        raise UserError(f"{where}: no file {path}")


def _read_metadata(table: Path) -> list[tuple[int, dict]]:
    """Rows with the number of the line that each ends on."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            if table.suffix == ".csv":
                reader = csv.DictReader(file, strict=True)
                return [(reader.line_num, row) for row in reader]
            return [
                (n, _parse_line(text, n, table)) for n, text in enumerate(file, 1) if text.strip()
            ]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{table}: {error}") from None


def _parse_line(text: str, number: int, table: Path) -> dict:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{table}, line {number}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise UserError(f"{table}, line {number}: expected an object with file_name and text")
    return row
