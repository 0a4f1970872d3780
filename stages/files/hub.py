"""Whether the files of a model are here, and what to do in one line if they can't be had.

A model is a folder, or a repository of the hub, whose files lie in the cache of huggingface_hub.
`HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_ENDPOINT` and `HF_HUB_CACHE` mean what they always do.
"""

import fnmatch
import itertools
import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (
    httpx,
)
from safetensors import SafetensorError, safe_open

from stages.config.mistakes import UserError

logger = logging.getLogger(__name__)

TIMEOUT_S = 10.0
"""For the first answer of the hub."""
INDEX = ".index.json"
"""Ends the name of the file that stands for weights in shards, and names them."""
REFUSALS = (OSError, ValueError, httpx.HTTPError)
"""How the hub refuses, or a disk."""


@dataclass(frozen=True)
class Model:
    """A folder or a repository of the hub, and what it has to hold.

    Attributes:
        what: The word for it in messages: "base model".
        key: Where its name stands in params.yaml.
        revision_key: Where its revision stands there.
        name: The folder, or OWNER/NAME on the hub.
        revision: Commit, tag or branch; None for a folder, or for the newest.
        wanted: For each need the files of which one has to be there, the usual one first.
        patterns: What `hf download` has to include to bring them all.
        setting: What params.yaml says where they lie in a folder FOLDER.
    """

    what: str
    key: str
    revision_key: str
    name: str
    revision: str | None
    wanted: Sequence[tuple[str, ...]]
    patterns: Sequence[str]
    setting: str

    @property
    def subject(self) -> str:
        """What messages about it begin with."""
        return f"{self.what} {self.name} ({self.key})"

    @property
    def download_command(self) -> str:
        """What brings all of it from the hub into the cache."""
        return self.word_download("".join(f" --include '{pattern}'" for pattern in self.patterns))

    @property
    def small_patterns(self) -> list[str]:
        """Those of `patterns` that stand for configs and vocabularies: more of them than wanted."""
        return [pattern for pattern in self.patterns if "*" in pattern]

    def word_download(self, what: str) -> str:
        """The command that brings files from the hub into the cache."""
        revision = f" --revision {self.revision}" if self.revision else ""
        return f"hf download {self.name}{revision}{what}"

    def list_missing(self) -> list[str]:
        """The files that are not here: each need by its first name, and shards by their own."""
        missing: list[str] = []
        for need in self.wanted:
            if not any(map(self.find, need)):
                shards = self._list_shards(need[0]) or need[:1]
                missing += [file for file in shards if not self.find(file)]
        return missing

    def list_broken(self) -> list[str]:
        """The files that are here, but cut or something else than their names say."""
        wanted = {file for need in self.wanted for file in (*need, *self._list_shards(need[0]))}
        found = {file: path for file in sorted(wanted) if (path := self.find(file))}
        return [file for file, path in found.items() if not _is_whole(path)]

    def find(self, file: str) -> Path | None:
        """Where a file of the model lies on this machine, if it does."""
        if is_local(self.name):
            found: object = str(Path(self.name, file))
        else:
            try:
                found = try_to_load_from_cache(self.name, file, revision=self.revision)
            except HFValidationError:
                return None
        return Path(found) if isinstance(found, str) and Path(found).is_file() else None

    def _list_shards(self, file: str) -> list[str]:
        """The shards of a weights file; none where no index can be read."""
        index = self.find(file + INDEX)
        try:
            names = json.loads(index.read_bytes())["weight_map"].values() if index else ()
        except (ValueError, KeyError, AttributeError, TypeError):
            return []
        return [str(Path(file).parent / name) for name in sorted(set(names))]


def is_local(name: str) -> bool:
    """A folder, or a path whose parent is here: a hub name never has a folder for its owner."""
    path = Path(name)
    return path.is_dir() or path.is_absolute() or (path.parent != Path() and path.parent.is_dir())


@dataclass(frozen=True)
class Missing:
    """What of a model is not here.

    Attributes:
        files: Each need by its first name, and shards by their own.
        num_bytes: What the hub would send; 0 where it gave no answer.
        problem: One line where the model can't be had: what is wrong, why, and what to do.
    """

    files: tuple[str, ...] = ()
    num_bytes: int = 0
    problem: str = ""


def require_model(model: Model) -> None:
    """See to it that a model is here and whole, or can be downloaded.

    Raises:
        UserError: One line: what is wrong, why, and what to do.
    """
    missing = find_missing(model)
    if missing.problem:
        raise UserError(missing.problem)
    if missing.files:
        what = (model.name, ", ".join(missing.files), missing.num_bytes / 1e9)
        logger.info("downloading from %s: %s, %.2f GB in all", *what)


def find_missing(model: Model) -> Missing:
    """Look for a model here, and ask the hub for what is not; nothing is downloaded."""
    files, broken = tuple(model.list_missing()), model.list_broken()
    if not files and not broken:
        return Missing()
    lacks, damage = f"it lacks {', '.join(files)}", f"{', '.join(broken)} cut or damaged"
    if is_local(model.name):
        what = " and ".join([lacks] * bool(files) + [damage] * bool(broken))
        found = f"is incomplete: {what}; get it again (the shipped one: `git checkout models`)"
        if not Path(model.name).is_dir():
            found = "does not exist"
        return Missing(files, problem=f"{model.subject}: this folder {found}")
    where = f"{model.subject}: in the cache {constants.HF_HUB_CACHE}"
    if broken:
        again = model.word_download(f" {' '.join(broken)} --force-download")
        return Missing(files, problem=f"{where}: {damage}; replace it by `{again}`")
    try:
        return Missing(files, _ask_hub(model, files))
    except REFUSALS as error:
        return Missing(files, problem=f"{where} {lacks}; {word_refusal(model, error)}")


def list_sizes(model: Model) -> dict[str, int]:
    """The bytes of each file of a repository, as the hub has it; one request."""
    info = HfApi().model_info(
        model.name, revision=model.revision, timeout=TIMEOUT_S, files_metadata=True
    )
    return {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}


def pick_files(model: Model, missing: str, names: Collection[str]) -> list[str]:
    """What a repository with files of these names has for a missing one: it, another, or shards."""
    need = next((need for need in model.wanted if need[0] == missing), (missing,))
    if whole := [file for file in need if file in names]:
        return whole[:1]
    index, stem = missing + INDEX, str(Path(missing).with_suffix(""))
    return [index, *fnmatch.filter(names, f"{stem}-*-of-*")] if index in names else []


def _ask_hub(model: Model, missing: Sequence[str]) -> int:
    """The bytes of what is missing.

    Raises:
        FileNotFoundError: The repository has neither a file nor its other names or shards.
    """
    sizes = list_sizes(model)
    picked = {file: pick_files(model, file, sizes) for file in missing}
    if absent := [file for file, found in picked.items() if not found]:
        raise FileNotFoundError(f"the hub's repository has no {', '.join(absent)} either")
    first = hf_hub_url(model.name, picked[missing[0]][0], revision=model.revision)
    get_hf_file_metadata(first, timeout=TIMEOUT_S)  # some gates show the list, and no file
    return sum(sizes[file] for file in set(itertools.chain(*picked.values())))


def word_refusal(model: Model, error: Exception) -> str:
    """Why the hub gave no answer, or which, and what to do."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    text = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
    sent = "a token was sent" if get_token() else "no token was sent"
    login = "run `hf auth login`, or set HF_TOKEN, for an account that may read it"
    refused = f"the hub refuses, and {sent}: {login}" if status in (401, 403) else "try later"
    fetch = (
        f"with a network run `{model.download_command}`, or add `--local-dir FOLDER` to it, "
        f"carry the folder here and set {model.setting}"
    )
    reasons: dict[type[Exception], str] = {
        OfflineModeIsEnabled: f"the hub was not asked, as HF_HUB_OFFLINE is set; {fetch}",
        GatedRepoError: f"{status}: it is gated, and {sent}: accept its licence at "
        f"{constants.ENDPOINT}/{model.name}, then {login}",
        RepositoryNotFoundError: f"{status}: there is no such repository, or it is private, and "
        f"{sent}: check {model.key}, or {login}",
        RevisionNotFoundError: f"{status}: it has no revision {model.revision}; "
        f"check {model.revision_key}",
        HfHubHTTPError: f"{status}: {refused}",
        HFValidationError: f"that is no name of a repository: check {model.key}",
        OSError: text,
        Exception: f"the hub cannot be reached ({text}); {fetch}",
    }
    return next(reason for kind, reason in reasons.items() if isinstance(error, kind))


def _is_whole(path: Path) -> bool:
    """Whether a file has all that its own header speaks of; its values are not read."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "numpy"):
                pass
        elif path.suffix == ".json":
            json.loads(path.read_bytes())
    except (SafetensorError, ValueError):
        return False
    return True
