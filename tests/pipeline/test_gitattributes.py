"""What DVC hashes are bytes: git should not change them on its way into a clone."""

import shutil
import subprocess
from pathlib import Path


def test_a_clone_that_converts_line_ends_has_the_same_bytes(tmp_path):
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    (origin / "stages").mkdir(parents=True)
    for name in (".gitattributes", "dvc.yaml", "params.yaml", "stages/check.py"):
        shutil.copyfile(name, origin / name)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], cwd=origin, check=True)
    subprocess.run([*git, "add", "."], cwd=origin, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "a"], cwd=origin, check=True)
    convert = ["-c", "core.autocrlf=true"]
    subprocess.run([*git, "clone", "-q", *convert, origin, clone], check=True)
    for name in ("dvc.yaml", "params.yaml", "stages/check.py"):
        assert (clone / name).read_bytes() == Path(name).read_bytes()
