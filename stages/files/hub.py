"""How to get a model that is not here: ask the hub once, and say what to do in one line.

`HF_TOKEN`, `HF_HUB_OFFLINE` and `HF_HUB_CACHE` mean what they always do.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx

from stages.config.mistakes import UserError
from stages.files.models import INDEX_SUFFIX, Model, Wanted

logger = logging.getLogger(__name__)

TIMEOUT_S = 10.0
"""For one answer of the hub."""
REFUSED = (401, 403)
WORTH_SAYING = 10_000_000
"""Bytes: a smaller file costs nobody a thought."""


class Answer(NamedTuple):
    """Of the hub: why files can't be had, or else the bytes of all that it has."""

    reason: str | None
    sizes: Mapping[str, int]


def require_model(model: Model) -> None:
    """See to it that a model is here or can be downloaded.

    Raises:
        UserError: One line: what is missing, how big it is, why, and how to get it.
    """
    missing = model.list_missing()
    if not missing:
        return
    if model.is_local:
        raise UserError(_word_folder(model, missing))
    reason, sizes = _ask_hub(model, missing)
    if reason is not None:
        raise UserError(
            f"{model.what} {model.name} ({model.key}): not in the cache "
            f"{constants.HF_HUB_CACHE}: {_word_files(missing, model.sizes)}; {reason}; "
            f"with a network run `{model.download_command}`, or add `--local-dir FOLDER` to it, "
            f"carry the folder here and set {model.setting}"
        )
    logger.info(
        "downloading from %s: %s", model.name, _word_files(missing, {**model.sizes, **sizes})
    )


def _word_folder(model: Model, missing: Sequence[str]) -> str:
    if not Path(model.name).is_dir():
        return f"{model.what}: the folder {model.name} ({model.key}) does not exist"
    return (
        f"{model.what}: the folder {model.name} ({model.key}) is incomplete: it lacks "
        f"{', '.join(missing)}; get it again (the shipped one: `git checkout models`)"
    )


def _word_files(files: Sequence[str], sizes: Mapping[str, int]) -> str:
    """Files, with sizes from 10 MB up: "a (3.44 GB), b, c (0.33 GB), 3.77 GB in all"."""
    sizes = {file: sizes[file] for file in files if sizes.get(file, 0) >= WORTH_SAYING}
    words = [f"{file} ({_word_bytes(sizes[file])})" if file in sizes else file for file in files]
    total = [f"{_word_bytes(sum(sizes.values()))} in all"] if sizes else []
    return ", ".join(words + total)


def _word_bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


def _ask_hub(model: Model, missing: Sequence[str]) -> Answer:
    """Ask once for the list of files and once for leave to read one: gates hide files alone."""
    try:
        info = HfApi().model_info(
            model.name, revision=model.revision, files_metadata=True, timeout=TIMEOUT_S
        )
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        absent = [f for f in missing if f not in sizes and f + INDEX_SUFFIX not in sizes]
        if absent := _drop_alternatives(absent, model.wanted, sizes):
            return Answer(f"the hub's repository has no {', '.join(absent)} either", {})
        first = next((file for file in missing if file in sizes), None)
        if first is not None:
            get_hf_file_metadata(
                hf_hub_url(model.name, first, revision=model.revision), timeout=TIMEOUT_S
            )
    except (OSError, ValueError, httpx.HTTPError) as error:
        return Answer(_word_refusal(model, error), {})
    return Answer(None, sizes)


def _drop_alternatives(absent: Sequence[str], wanted: Wanted, present: Iterable[str]) -> list[str]:
    """Those whose other names the repository does not have either."""
    needs = {need[0]: need for need in wanted}
    return [file for file in absent if not set(needs.get(file, ())) & set(present)]


def _word_refusal(model: Model, error: Exception) -> str:
    """Why the hub gave no answer, or which."""
    page = f"{constants.ENDPOINT}/{model.name}"
    token = "`hf auth login`, or set HF_TOKEN to a token of an account that may read it"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    reasons: list[tuple[type[Exception], str]] = [
        (OfflineModeIsEnabled, "the hub was not asked, as HF_HUB_OFFLINE is set"),
        (GatedRepoError, f"{status}: it is gated: accept its licence at {page}, then {token}"),
        (RepositoryNotFoundError, f"{status}: there is no such repository, or it is private: "
                                  f"check {model.key}; {token}"),
        (RevisionNotFoundError, f"{status}: it has no revision {model.revision}"),
        (HFValidationError, f"that is no name of a repository: check {model.key}"),
    ]  # fmt: skip
    for kind, reason in reasons:
        if isinstance(error, kind):
            return reason
    if status in REFUSED:
        return f"{status}: the hub refuses: {token}"
    if status is not None:
        return f"the hub answers {status}: try again later"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"the hub cannot be reached ({lines[0].rstrip('.')})"
