"""Download a model's files from the hub into the cache of huggingface_hub."""

import hashlib
import logging
import re
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers, filter_repo_objects

from stages.config.mistakes import UserError
from stages.files.hub import (
    REFUSALS,
    TIMEOUT_S,
    Model,
    is_local,
    list_sizes,
    pick_files,
    word_refusal,
)

logger = logging.getLogger(__name__)

SHA256 = re.compile("[0-9a-f]{64}")
"""The hub's name for the content of a large file; small ones have git's."""


def fetch_model(model: Model) -> None:
    """Download what is missing of a model on the hub: of each need the first file that it has.

    Libraries that load a model do so as well, but some then try other files when one fails, and
    all of them start anew what was cut.

    Raises:
        UserError: One line: which download failed, why, and what to do.
    """
    file = "its list of files"
    if is_local(model.name) or not model.list_missing():
        return
    try:
        names = list_sizes(model)
        for file in filter_repo_objects(names, allow_patterns=model.small_patterns):
            _download(model, file)
        for missing in model.list_missing():  # shards by their own names: their index is here now
            for file in pick_files(model, missing, names) or [missing]:
                _download(model, file)
    except REFUSALS as error:
        raise UserError(
            f"{model.subject}: the download of {file} failed; {word_refusal(model, error)}"
        ) from None


def _download(model: Model, file: str) -> None:
    """Bring a file into the cache; one that was cut goes on where it stopped.

    huggingface_hub 2.4 would start it anew in each process. So the content of a large file, which
    the hub names by its SHA-256, is put where `hf_hub_download` looks for it before it downloads.
    """
    if model.find(file):
        return
    url = hf_hub_url(model.name, file, revision=model.revision)
    remote = get_hf_file_metadata(url, timeout=TIMEOUT_S)
    digest = remote.etag or ""
    if SHA256.fullmatch(digest):
        cache, folder = (
            Path(constants.HF_HUB_CACHE),
            repo_folder_name(repo_id=model.name, repo_type="model"),
        )
        blob, lock = cache / folder / "blobs" / digest, cache / ".locks" / folder / f"{digest}.lock"
        for path in (blob, lock):
            path.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.is_file():
                _continue_download(url, blob, remote.size)
    hf_hub_download(model.name, file, revision=model.revision)


def _continue_download(url: str, blob: Path, size: int | None) -> None:
    part = blob.with_name(f"{blob.name}.incomplete")
    with part.open("ab") as stream:
        done = stream.tell()
        if done:
            logger.info("going on at %.2f of %.2f GB", done / 1e9, (size or 0) / 1e9)
        http_get(url, stream, resume_size=done, headers=build_hf_headers(), expected_size=size)
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != blob.name:
        part.unlink()
        raise OSError(f"what came is not the hub's file: SHA-256 {found[:12]}; it was deleted")
    part.rename(blob)
