"""Whether the files of a model are here.

A model is a folder, or a repository of the hub, whose files lie in the cache of huggingface_hub:
models--OWNER--NAME/snapshots/COMMIT/FILE, links to blobs/. A link whose blob is gone is no file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

INDEX_SUFFIX = ".index.json"
"""Of the file beside sharded weights that names the shards."""

Wanted = Sequence[tuple[str, ...]]
"""What a model needs: for each need the files of which one has to be there, the usual one first."""


@dataclass(frozen=True)
class Model:
    """A folder or a repository of the hub, and what it has to hold.

    Attributes:
        what: The word for it in messages: "base model".
        key: Where its name stands in params.yaml.
        name: The folder, or OWNER/NAME on the hub.
        revision: Commit, tag or branch; None for a folder, or for the newest.
        wanted: What it needs; weights may also be there in shards.
        sizes: Bytes of its files, where they are known beforehand.
        patterns: What `hf download` has to include to bring them all.
        setting: What params.yaml says where they lie in a folder FOLDER.
    """

    what: str
    key: str
    name: str
    revision: str | None
    wanted: Wanted
    sizes: Mapping[str, int]
    patterns: Sequence[str]
    setting: str

    @property
    def is_local(self) -> bool:
        """Whether the name is that of a folder, be it there or not."""
        return is_local(self.name)

    @property
    def download_command(self) -> str:
        """What brings all of it from the hub into the cache."""
        revision = f" --revision {self.revision}" if self.revision else ""
        include = "".join(f" --include '{pattern}'" for pattern in self.patterns)
        return f"hf download {self.name}{revision}{include}"

    def find(self, file: str) -> Path | None:
        """Where a file lies, if it is here."""
        if self.is_local:
            path = Path(self.name, file)
            return path if path.is_file() else None
        try:
            found = try_to_load_from_cache(self.name, file, revision=self.revision)
        except HFValidationError:
            return None
        return Path(found) if isinstance(found, str) else None

    def list_missing(self) -> list[str]:
        """The files that are not here: each need by its first name, and shards by their own."""
        return [file for need in self.wanted for file in self._list_missing(need)]

    def _list_missing(self, need: tuple[str, ...]) -> Iterable[str]:
        if any(self.find(file) for file in need):
            return []
        for file in need:
            index = self.find(file + INDEX_SUFFIX)
            if index and (shards := _read_shards(index)):
                folder = Path(file).parent
                return [str(folder / name) for name in shards if not self.find(str(folder / name))]
        return need[:1]


def is_local(name: str) -> bool:
    """A folder, or a path whose parent is here: a hub name never has a folder for its owner."""
    path = Path(name)
    return path.is_dir() or path.is_absolute() or (path.parent != Path() and path.parent.is_dir())


def _read_shards(index: Path) -> list[str]:
    """The files that an index of sharded weights names; none if it can't be read."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return []
