"""A repository with experiments where `dvc exp` puts them, without running any."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path


def write_experiments(write: Mapping[str, Callable[[], None]]) -> None:
    """Make the current, empty folder a repository, with an experiment of each name.

    Args:
        write: Per experiment, what writes its files; before each they are as params.yaml is here.
    """
    text = (Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8")
    if subprocess.run(["git", "rev-parse"], capture_output=True, check=False).returncode:
        _git("init", "-q")
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("", encoding="utf-8")
    Path("params.yaml").write_text(text, encoding="utf-8")
    _commit("start")
    start = _git("rev-parse", "HEAD")
    for name, write_files in write.items():
        write_files()
        _commit(name)
        _git("update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", "HEAD")
        _git("reset", "-q", "--hard", start)


def replace_in_params(old: str, new: str) -> None:
    """Change text of params.yaml that is there."""
    path = Path("params.yaml")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def _commit(message: str) -> None:
    _git("add", "-A")
    _git("commit", "-qm", message)


def _git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
