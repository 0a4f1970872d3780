"""Whether the files of a model are here, and what to do in one line if they can't be had.

A model is a folder, or a repository of the hub, whose files lie in the cache of huggingface_hub.
`HF_TOKEN`, `HF_HUB_OFFLINE` and `HF_HUB_CACHE` mean what they always do.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    HfApi,
    constants,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars, httpx

from stages.config.mistakes import UserError

logger = logging.getLogger(__name__)

TIMEOUT_S = 10.0
"""For the first answer of the hub."""
INDEX = ".index.json"
"""Ends the name of the file that stands for weights in shards, and names them."""


@dataclass(frozen=True)
class Model:
    """A folder or a repository of the hub, and what it has to hold.

    Attributes:
        what: The word for it in messages: "base model".
        key: Where its name stands in params.yaml.
        name: The folder, or OWNER/NAME on the hub.
        revision: Commit, tag or branch; None for a folder, or for the newest.
        wanted: For each need the files of which one has to be there, the usual one first.
        patterns: What `hf download` has to include to bring them all.
        setting: What params.yaml says where they lie in a folder FOLDER.
    """

    what: str
    key: str
    name: str
    revision: str | None
    wanted: Sequence[tuple[str, ...]]
    patterns: Sequence[str]
    setting: str

    @property
    def download_command(self) -> str:
        """What brings all of it from the hub into the cache."""
        revision = f" --revision {self.revision}" if self.revision else ""
        include = "".join(f" --include '{pattern}'" for pattern in self.patterns)
        return f"hf download {self.name}{revision}{include}"

    def list_missing(self) -> list[str]:
        """The files that are not here: each need by its first name, and shards by their own."""
        missing: list[str] = []
        for need in self.wanted:
            if not any(map(self._find, need)):
                shards = self._list_shards(need[0]) or need[:1]
                missing += [file for file in shards if not self._find(file)]
        return missing

    def _find(self, file: str) -> Path | None:
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
        index = self._find(file + INDEX)
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
        problem: One line where it can't be had: what is missing, why, and how to get it.
    """

    files: tuple[str, ...] = ()
    num_bytes: int = 0
    problem: str = ""


def require_model(model: Model) -> None:
    """See to it that a model is here or can be downloaded.

    Raises:
        UserError: One line: what is missing, why, and how to get it.
    """
    missing = find_missing(model)
    if missing.problem:
        raise UserError(missing.problem)
    if missing.files:
        what = (model.name, ", ".join(missing.files), missing.num_bytes / 1e9)
        logger.info("downloading from %s: %s, %.2f GB in all", *what)


def find_missing(model: Model) -> Missing:
    """Look for a model here, and ask the hub for what is not; nothing is downloaded."""
    files = tuple(model.list_missing())
    if not files:
        return Missing()
    subject, listed = f"{model.what} {model.name} ({model.key})", ", ".join(files)
    if is_local(model.name):
        found = "does not exist"
        if Path(model.name).is_dir():
            found = (
                f"is incomplete: it lacks {listed}; "
                "get it again (the shipped one: `git checkout models`)"
            )
        return Missing(files, problem=f"{subject}: this folder {found}")
    try:
        return Missing(files, _ask_hub(model, files))
    except (OSError, ValueError, httpx.HTTPError) as error:
        problem = (
            f"{subject}: not in the cache {constants.HF_HUB_CACHE}: {listed}; "
            f"{_word_refusal(model, error)}; with a network run `{model.download_command}`, "
            f"or add `--local-dir FOLDER` to it, carry the folder here and set {model.setting}"
        )
        return Missing(files, problem=problem)


def fetch_model(model: Model) -> None:
    """Download what is missing of a model on the hub: of each need the first file that it has.

    For libraries that try another file when a download fails, and then name only that one.

    Raises:
        UserError: One line: which download failed, why, and what brings the file.
    """
    for need in model.wanted:
        if any(map(model._find, need)):
            continue
        for file in need:
            try:
                hf_hub_download(model.name, file, revision=model.revision)
            except RemoteEntryNotFoundError:
                continue
            except (OSError, ValueError, httpx.HTTPError) as error:
                raise UserError(
                    f"{model.what} {model.name} ({model.key}): the download of {file} failed; "
                    f"{_word_refusal(model, error)}; run it again, or `{model.download_command}`"
                ) from None
            break


def _ask_hub(model: Model, missing: Sequence[str]) -> int:
    """The bytes of what is missing.

    Raises:
        FileNotFoundError: The repository has neither a file nor its other names or shards.
    """
    needs = {need[0]: need for need in model.wanted}
    names = {file: {*needs.get(file, [file]), file + INDEX} for file in missing}
    # Asked first, as this fails at once: the dry run asks again and again for half a minute.
    HfApi().model_info(model.name, revision=model.revision, timeout=TIMEOUT_S)
    disable_progress_bars()
    try:
        infos = snapshot_download(
            model.name,
            revision=model.revision,
            allow_patterns=[name for options in names.values() for name in options],
            dry_run=True,
        )
    finally:
        enable_progress_bars()
    found = {info.filename for info in infos}
    if absent := [file for file, options in names.items() if not options & found]:
        raise FileNotFoundError(f"the hub's repository has no {', '.join(absent)} either")
    return sum(info.file_size for info in infos if info.will_download)


def _word_refusal(model: Model, error: Exception) -> str:
    """Why the hub gave no answer, or which."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    page = f"{constants.ENDPOINT}/{model.name}"
    token = "`hf auth login`, or set HF_TOKEN to a token of an account that may read it"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    text = next(iter(str(error).strip().splitlines()), type(error).__name__)
    refused = f"the hub refuses: {token}" if status in (401, 403) else "the hub fails: try later"
    reasons: dict[type[Exception], str] = {
        OfflineModeIsEnabled: "the hub was not asked, as HF_HUB_OFFLINE is set",
        GatedRepoError: f"{status}: it is gated: accept its licence at {page}, then {token}",
        RepositoryNotFoundError: f"{status}: there is no such repository, or it is private: "
        f"check {model.key}; {token}",
        RevisionNotFoundError: f"{status}: it has no revision {model.revision}",
        HfHubHTTPError: f"{status}: {refused}",
        HFValidationError: f"that is no name of a repository: check {model.key}",
        FileNotFoundError: text,
        Exception: f"the hub cannot be reached ({text.rstrip('.')})",
    }
    return next(reason for kind, reason in reasons.items() if isinstance(error, kind))
