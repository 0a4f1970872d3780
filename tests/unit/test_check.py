"""What stops a run before any result is touched, beside params.yaml itself."""

import os
import subprocess
from pathlib import Path

import pytest

from stages import check
from stages.config.mistakes import UserError
from tests.unit.stable_diffusion_project import write_params


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_git_sees_what_was_edited_in_the_second_in_which_it_looked(project: Path) -> None:
    """As `dvc exp run -S` edits; else `git checkout` leaves the edit in for the next experiment."""
    params = project / "params.yaml"
    git("init", "-q")
    git("add", "params.yaml")
    git("commit", "-qm", "a")
    second = int(params.stat().st_mtime)
    os.utime(params, (second + 0.1, second + 0.1))
    git("update-index", "--refresh")
    text = params.read_text()
    params.write_text(text.replace("method: attn2\n", "method: attn3\n", 1))
    assert params.stat().st_size == len(text.encode())
    os.utime(params, (second + 0.2, second + 0.2))
    os.utime(".git/index", (second + 9, second + 9))  # written later, so git trusts its times
    with pytest.raises(UserError, match="attn3"):
        check.main()
    assert git("status", "--porcelain", "params.yaml").split() == ["M", "params.yaml"]
