"""What lies under the sources of pictures and weights, as far as can be told without reading it.

dvc.yaml cannot name a path that stands in a section of params.yaml which another key chooses. So
`check`, which always runs, writes this down, and `preflight` runs again when it has changed.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from stages.config.params import Params
from stages.sources.walking import digest_files, is_folder, list_files, walk

logger = logging.getLogger(__name__)


def watch_sources(params: Params, earlier: Mapping[str, dict]) -> dict[str, dict]:
    """The root, number of files and digest of each source that reads a user's files.

    The digest is of names, sizes and times. A source that is not there is as it was `earlier`: a
    clone that pulled all results runs without the pictures that they came from.
    """
    data, subject = params.chosen.data, params.subject
    watched: dict[str, dict] = {}
    if named := params.pictures.named:
        for variant, root in named.items():
            watched[variant] = _watch(root, earlier.get(variant, {}))
        return watched
    if data.source in ("imagefolder", "parquet"):
        watched["pairs"] = _watch(data.path, earlier.get("pairs", {}))
    imported = params.imported.path if params.finetune.method == "import" else None
    if (params.finetune.learns_subject or imported) and subject.root is not None:
        watched["subject"] = _watch(Path(subject.root), earlier.get("subject", {}))
    if imported and (Path(imported).exists() or "import" in earlier):  # else it is on the hub
        watched["import"] = _watch(Path(imported), earlier.get("import", {}))
    return watched


def _watch(root: Path, earlier: dict) -> dict:
    files, _ = walk(root) if is_folder(root) else list_files(root)
    if not files and earlier.get("root") == str(root):
        logger.warning("%s is not here; what was made from it stays as it is", root)
        return earlier
    return {"root": str(root), "num_files": len(files), "digest": digest_files(files)}
