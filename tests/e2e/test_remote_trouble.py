"""A remote that is down, slow, full or refuses in the middle of a push: DVC alone, no stages.

What docs/sharing.md says of each: the message that names the cause, local results whole, and the
same push again sends the rest.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import BUCKET, CREDENTIALS, Server, Trouble, hang_up, serve_s3

pytestmark = pytest.mark.thorough

NUM_FILES = 12
TROUBLES: dict[str, tuple[Trouble, str]] = {
    "busy": (lambda _: ("503 Slow Down", "SlowDown"), "(SlowDown)"),
    "refuses": (lambda _: ("403 Forbidden", "AccessDenied"), "(AccessDenied)"),
    "full": (lambda _: ("507 Insufficient Storage", "XMinioStorageFull"), "XMinioStorageFull"),
    "hangs up": (hang_up, "Could not connect to the endpoint URL"),
    "is too slow": (lambda _: time.sleep(5), "Read timeout on endpoint URL"),
}
"""What the remote does, and what tells it in DVC's message."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An S3 server, and an environment that lets clients in."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for name, value in (CREDENTIALS | {"PATH": path}).items():
        monkeypatch.setenv(name, value)
    with serve_s3() as server:
        yield server


@pytest.fixture
def project(server: Server, tmp_path: Path) -> Path:
    """A DVC project with pictures to push."""
    folder = tmp_path / "project"
    (folder / "samples").mkdir(parents=True)
    for number in range(NUM_FILES):
        (folder / f"samples/{number}.png").write_bytes(os.urandom(2000))
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    lines = ["[core]", "analytics = false", "remote = team", "['remote \"team\"']"]
    lines += [f"url = s3://{BUCKET}/attune", f"endpointurl = {server.url}", "read_timeout = 1"]
    (folder / ".dvc/config").write_text("\n".join(lines))
    run(folder, "dvc", "add", "-q", "samples")
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "refuses" else pytest.mark.slow) for n in TROUBLES]
)
def test_trouble_in_the_middle_of_a_push_is_told_and_the_same_push_again_sends_the_rest(
    name, project, server, tmp_path
):
    before = read_files(project)
    trouble, cause = TROUBLES[name]
    server.make_trouble(trouble, num_good=4)
    failed = run(project, "dvc", "push", expected=1)
    assert cause in failed.stderr
    assert "failed to push data to the cloud" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert read_files(project) == before
    assert "up to date" in run(project, "dvc", "status").stdout
    server.end_trouble()
    pushed = run(project, "dvc", "push").stdout
    assert 1 <= int(pushed.split()[0]) <= NUM_FILES + 1 - 4  # with the list of the folder
    assert read_files(fetch(project, tmp_path)) == before


@pytest.mark.slow
def test_a_remote_that_is_down_is_named_and_nothing_is_lost(project, server, tmp_path):
    before = read_files(project)
    config = project / ".dvc/config"
    good = config.read_text()
    config.write_text(good.replace(server.url, "http://127.0.0.1:9"))  # where nobody listens
    failed = run(project, "dvc", "push", expected=255)
    assert 'Could not connect to the endpoint URL: "http://127.0.0.1:9/' in failed.stderr
    assert read_files(project) == before
    config.write_text(good)
    run(project, "dvc", "push")
    assert read_files(fetch(project, tmp_path)) == before


@pytest.mark.slow
def test_a_pull_that_broke_off_leaves_what_came_and_goes_on(project, server, tmp_path):
    before = read_files(project)
    run(project, "dvc", "push")
    server.make_trouble(lambda _: ("403 Forbidden", "AccessDenied"), 6, method="GET")
    clone = fetch(project, tmp_path, expected=1)
    server.end_trouble()
    assert run(clone, "dvc", "pull").returncode == 0
    assert read_files(clone) == before


def fetch(project: Path, tmp_path: Path, expected: int = 0) -> Path:
    """A second folder of the project that pulls."""
    clone = tmp_path / "clone"
    clone.mkdir()
    run(clone, "git", "init", "-q")
    run(clone, "dvc", "init", "-q")
    for name in (".dvc/config", "samples.dvc"):
        (clone / name).write_text((project / name).read_text())
    run(clone, "dvc", "pull", expected=expected)
    return clone


def read_files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "samples").iterdir())}


def run(folder: Path, *command: str, expected: int = 0) -> subprocess.CompletedProcess:
    """Run a command in the folder, which must exit as expected."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == expected, result.stdout + result.stderr
    return result
