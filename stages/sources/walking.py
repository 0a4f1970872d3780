"""Which files lie under a folder, and what of it is no one's picture.

Links are followed, as the hub's client and DVC's cache make them. Names are compared in Unicode's
form NFC: a Mac writes an umlaut as two characters.
"""

import errno
import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from stages.config.mistakes import UserError
from stages.config.params import UNFIT
from stages.sources.notes import Note

LITTER = (
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
)
"""What macOS, Synology and Windows leave, in lower case; all else that they leave is hidden."""


CACHES = {"/annex/objects/": ": run `git annex get .`", "/.dvc/cache/": ": run `dvc pull`"}
"""Where links lead whose file may be elsewhere, and what brings it."""


class Found(NamedTuple):
    """A file: its path under the root in NFC, with "/" between the parts; and where it is."""

    name: str
    path: Path


def walk(root: Path) -> tuple[list[Found], list[Note]]:
    """All files at any depth, in the order of their names, and what was left out.

    Raises:
        UserError: A folder cannot be read.
    """
    left_out: list[Note] = []
    found: dict[str, Found] = {}
    for file in sorted(_walk(root, "", {os.path.realpath(root)}, left_out), key=_split):
        if found.setdefault(file.name, file) is not file:
            left_out.append(
                Note(file.name, "same name as another, in Unicode's form NFC: rename it")
            )
    return list(found.values()), left_out


def list_files(root: Path) -> tuple[list[Found], list[Note]]:
    """A file, the parquet files in a folder, or what a pattern such as `train-*.parquet` finds.

    Of a folder, what was left out as well.
    """
    if is_file(root):
        return [Found(root.name, root)], []
    if is_folder(root):
        files, left_out = walk(root)
        taken = [found for found in files if found.path.suffix.lower() == ".parquet"]
        others = [found.name for found in files if found not in taken]
        return taken, left_out + [Note(name, "no parquet file") for name in others]
    if not is_folder(root.parent) or not set("*?[") & set(root.name):
        return [], []
    files, _ = walk(root.parent)
    return [f for f in files if "/" not in f.name and f.path.match(root.name)], []


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; a name too long, or a closed folder, is no error."""
    return os.path.isfile(path)  # noqa: PTH113 - Path's own raises


def is_folder(path: str | Path) -> bool:
    """Whether there is such a folder, as `is_file`."""
    return os.path.isdir(path)  # noqa: PTH112


def digest_files(files: Sequence[Found]) -> str:
    """A hash of names, sizes and times: cheap, and another one after nearly every change."""
    digest = hashlib.blake2b(digest_size=16)
    for name, path in files:
        try:
            stat = path.stat()
        except OSError as error:
            raise _word_unreadable(path, error) from None
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def read_file(path: Path, count: int = -1) -> bytes:
    """The bytes of a file, or the first `count`.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise _word_unreadable(path, error) from None


def word_missing(path: Path, key: str, what: str) -> UserError:
    """That a source's `what` is not there, and why that may be although the user sees it."""
    message = f"{key}: no {what} {path}"
    if is_file(path) or is_folder(path):
        return UserError(
            f"{message} (it is a {'file' if is_file(path) else 'folder'}); set it to one"
        )
    if path.parts[:1] == ("~",):
        home = os.path.expanduser(path)  # noqa: PTH111 - Path's own raises where there is none
        return UserError(f"{message}; ~ is not read as a home: set it to {home}")
    if is_file(f"{path}.dvc"):
        return UserError(f"{message}, but {path}.dvc: run `dvc pull {path}`")
    if ".dvc/tmp/exps" in Path.cwd().as_posix() and not path.is_absolute():
        return UserError(
            f"{message} in this copy of the repository, which `dvc exp run --temp` and --queue "
            f"work in; `dvc add {path}` and commit, or set an absolute path, or copy it with "
            f"`-C {path}`"
        )
    return UserError(f"{message}; set it to one")


def _word_unreadable(path: Path, error: OSError) -> UserError:
    if error.errno == errno.ENOENT:
        return UserError(f"{path}: not there any more; run `dvc repro` again")
    return UserError(f"{path}: not readable ({error.strerror}); allow reading it, or take it out")


def normalise(name: str) -> str:
    """A name as it is compared with others."""
    return unicodedata.normalize("NFC", name)


def _split(found: Found) -> list[str]:
    return found.name.split("/")


def _walk(folder: Path, above: str, parents: set[str], left_out: list[Note]) -> Iterator[Found]:
    try:
        with os.scandir(folder) as listing:
            entries = list(listing)
    except OSError as error:
        raise _word_unreadable(folder, error) from None
    for entry in entries:
        name = above + normalise(entry.name)
        reason = _judge(entry)
        if not reason and entry.is_file():
            yield Found(name, Path(entry.path))
        elif not reason and entry.is_dir():
            real = os.path.realpath(entry.path)
            if real not in parents:
                yield from _walk(Path(entry.path), f"{name}/", parents | {real}, left_out)
                continue
            reason = "link back to a folder above it"
        if reason or not entry.is_file():
            shown = name.encode(errors="backslashreplace").decode()
            left_out.append(Note(shown, reason or "neither a file nor a folder"))


def _judge(entry: os.DirEntry) -> str:
    """Why an entry is left out without a look into it; "" if it is not."""
    if entry.name.startswith(".") or entry.name.lower() in LITTER:
        return "hidden, or left by a program"
    # Bytes that are no UTF-8, too; what is printable needs no look at each character.
    if not entry.name.isprintable() and any(unicodedata.category(c) in UNFIT for c in entry.name):
        return "name that is no text: rename it"
    if entry.is_symlink() and not (is_file(entry.path) or is_folder(entry.path)):
        target = os.readlink(entry.path)  # noqa: PTH115 - Path's own splits it
        remedies = [remedy for part, remedy in CACHES.items() if part in f"/{target}"]
        return f"link to what is not there{''.join(remedies[:1])}"
    return ""
