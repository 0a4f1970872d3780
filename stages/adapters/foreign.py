"""Weights that others trained, as they are: where they lie, their tensors, what is said of them.

A file or folder here, or of the hub: OWNER/NAME, or OWNER/NAME/FILE. Only safetensors and JSON are
read. A pickle runs what it holds when it is opened, so none is.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.utils import httpx
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stages.config.mistakes import UserError, enumerate_some
from stages.files.hub import is_local

KEY = "import.path"
SUFFIX = ".safetensors"
PIPELINE = "model_index.json"
PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTED = ("unet", "text_encoder")
"""The parts of a base that adapters stand in, and folders that peft's are saved to."""
METADATA = "lora_adapter_metadata"
"""Where diffusers keeps peft's config in the header of a file, a key's part in front."""
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
PICKLED = (b"PK\x03\x04", b"\x80")
"""How files of torch begin: a zip of pickles, or one pickle."""
CONVERT = (
    """python -c 'import sys, torch; from safetensors.torch import save_file as save; """
    """d = torch.load(sys.argv[1], "cpu", weights_only=True); d = d.get("state_dict", d); """
    """d = {"emb_params": d["string_to_param"]["*"]} if "string_to_param" in d else d; """
    """save({k: v.detach().contiguous().clone() for k, v in d.items() if torch.is_tensor(v)}, """
    """sys.argv[2])'"""
)
"""Of torch's own: it refuses all of a pickle but tensors. A1111's embeddings have two keys more."""
PARTS = ("unet/", "text_encoder/", "vae/", "scheduler/", "tokenizer/")


class Foreign(NamedTuple):
    """What stands at `import.path`.

    Attributes:
        path: The file, or the folder of a pipeline.
        is_pipeline: Whether it is such a folder, whose parts are loaded like a base's.
        tensors: By name, as they are in the file; of a pipeline none.
        configs: peft's config of a part of the base; of "" where the file does not name the part.
        digest: SHA-256 of names and bytes of all files.
    """

    path: Path
    is_pipeline: bool
    tensors: dict[str, Tensor]
    configs: dict[str, dict[str, Any]]
    digest: str


def read_foreign(name: str, revision: str | None) -> Foreign:
    """Read what `import.path` names, downloading it where it is on the hub.

    Raises:
        UserError: It is not there, is a pickle, is damaged, or is several.
    """
    path = find_foreign(name, revision)
    if path.is_file():
        return _read_files(path, {"": path})
    if (path / PIPELINE).is_file():
        files = [path / PIPELINE, *(f for part in PARTS for f in sorted((path / part).glob("*")))]
        _refuse_pickles_alone(path, files)
        return Foreign(path, True, {}, {}, _digest(files))
    folders = {part: path / part for part in ADAPTED if (path / part / PEFT_CONFIG).is_file()}
    if (path / PEFT_CONFIG).is_file():
        folders = {"": path}
    if folders:
        return _read_peft(path, folders)
    file = _choose_file(name, sorted(file.name for file in path.iterdir() if file.is_file()))
    return _read_files(path / file, {"": path / file})


def find_foreign(name: str, revision: str | None) -> Path:
    """The file or folder, from the hub's cache or the hub itself where it is none of this machine.

    Raises:
        UserError: There is none, here or there.
    """
    path = Path(name)
    if path.exists():
        return path
    if is_local(name) or name.count("/") == 0:
        raise UserError(f"{KEY}: found {name}; there is no such file or folder")
    owner, repository, *rest = name.split("/", 2)
    try:
        return _download(f"{owner}/{repository}", "".join(rest), revision)
    except UserError:
        raise
    except (OSError, ValueError, httpx.HTTPError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        raise UserError(
            f"{KEY}: found {name}; there is no such file or folder here, and the hub gives none "
            f"({reason}); with a network run `hf download {owner}/{repository}`, or name a file"
        ) from None


def _download(repository: str, file: str, revision: str | None) -> Path:
    names = _list_names(repository, revision)
    if file:
        if file not in names:
            raise FileNotFoundError(f"{repository} has no {file}")
        wanted = [file]
    elif PIPELINE in names:
        inside = [n for n in names if n.startswith(PARTS)]
        weights = [n for n in inside if n.endswith(SUFFIX)]
        whole = [n for n in weights if n.count(".") == 1]  # no variant, such as .fp16
        texts = [n for n in inside if n.endswith((".json", ".txt"))]
        wanted = [PIPELINE, *texts, *(whole or weights)]
    elif PEFT_CONFIG in names:
        wanted = [PEFT_CONFIG, PEFT_WEIGHTS]
    elif folders := [part for part in ADAPTED if f"{part}/{PEFT_CONFIG}" in names]:
        wanted = [f"{part}/{file}" for part in folders for file in (PEFT_CONFIG, PEFT_WEIGHTS)]
    else:
        wanted = [_choose_file(repository, sorted(name for name in names if "/" not in name))]
        file = wanted[0]
    folder = snapshot_download(repository, revision=revision, allow_patterns=wanted)
    return Path(folder, file)


def _list_names(repository: str, revision: str | None) -> list[str]:
    """The files of a repository: from the hub, or those in the cache if that is out of reach."""
    try:
        return HfApi().list_repo_files(repository, revision=revision)
    except (OSError, httpx.HTTPError) as error:
        try:
            folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        except OSError:
            raise error from None
        return [f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()]


def _choose_file(where: str, names: list[str]) -> str:
    """The only weights file of a folder or repository."""
    found = [name for name in names if name.endswith(SUFFIX)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{KEY}: {where} has {len(found)} files of weights ({enumerate_some(found)}); name "
            f"one of them: {where}/{found[0]}"
        )
    if pickles := [name for name in names if Path(name).suffix in PICKLES]:
        raise _explain_pickle(Path(where, pickles[0]))
    raise UserError(
        f"{KEY}: {where} has neither a {SUFFIX} file, nor {PIPELINE} (diffusers), nor "
        f"{PEFT_CONFIG} (peft)"
    )


def _read_peft(path: Path, folders: dict[str, Path]) -> Foreign:
    configs = {part: _read_json(folder / PEFT_CONFIG) for part, folder in folders.items()}
    for folder in folders.values():
        if not (folder / PEFT_WEIGHTS).is_file():
            names = sorted(file.name for file in folder.iterdir() if file.is_file())
            _choose_file(str(folder), names)
            raise UserError(f"{KEY}: {folder} has {PEFT_CONFIG}, but no {PEFT_WEIGHTS}")
    files = {part: folder / PEFT_WEIGHTS for part, folder in folders.items()}
    found = _read_files(path, files)
    return found._replace(configs=found.configs | configs)


def _read_files(path: Path, files: dict[str, Path]) -> Foreign:
    """The tensors of safetensors files, the part that a file is of in front of their names."""
    tensors: dict[str, Tensor] = {}
    configs: dict[str, dict[str, Any]] = {}
    for part, file in files.items():
        if file.suffix in PICKLES:
            raise _explain_pickle(file)
        try:
            with safe_open(file, "pt") as opened:
                names, header = opened.keys(), opened.metadata() or {}
                tensors |= {f"{part}.{n}".lstrip("."): opened.get_tensor(n) for n in names}
        except (SafetensorError, OSError) as error:
            with file.open("rb") as opened:
                if opened.read(4).startswith(PICKLED):  # as a whole file may begin, too
                    raise _explain_pickle(file) from None
            raise UserError(
                f"{KEY}: {file} is no whole {SUFFIX} file ({error}); get it again"
            ) from None
        for key, value in json.loads(header.get(METADATA, "{}")).items():
            whose, _, name = key.partition(".")
            configs.setdefault(whose, {})[name] = value
    if not tensors:
        raise UserError(f"{KEY}: {path} holds no tensors")
    return Foreign(path, False, tensors, configs, _digest(files.values()))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{KEY}: {path} is damaged ({error}); get it again") from None


def _refuse_pickles_alone(folder: Path, files: list[Path]) -> None:
    """Refuse a pipeline of which a part's weights are only there as a pickle."""
    for part in PARTS:
        inside = [file for file in files if file.parent == folder / part]
        pickles = [file for file in inside if file.suffix in PICKLES]
        if pickles and not any(file.suffix == SUFFIX for file in inside):
            raise _explain_pickle(pickles[0])


def _explain_pickle(path: Path) -> UserError:
    names = shlex.join([str(path), str(path.with_suffix(SUFFIX))])
    return UserError(
        f"{KEY}: {path} is a pickle, which can run code when it is opened; convert it and name "
        f"the new file: {CONVERT} {names}"
    )


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        if path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
