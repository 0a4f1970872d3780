"""Two clones that share results through S3: what docs/sharing.md promises, on two light stages.

The stages are stand-ins of a second each; remote, git, lock file and run-cache are real.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import BUCKET, CREDENTIALS, serve_s3

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
DVC_YAML = """stages:
  finetune:
    cmd: python stage.py rate models/finetuned.bin plots/data/finetune.json
    deps: [stage.py]
    params: [rate]
    outs: [models/finetuned.bin]
    metrics:
      - plots/data/finetune.json: {cache: false}
  report:
    cmd: python stage.py words plots/report.html plots/words.json
    deps: [stage.py, models/finetuned.bin]
    params: [words]
    outs: [plots/report.html, plots/words.json]
"""
STAGE = """import json, pathlib, re, sys
key, out, metric = sys.argv[1:]
value = re.search(rf"^{key}: (.+)$", pathlib.Path("params.yaml").read_text(), re.M)[1]
for name, text in ((out, value * 1000), (metric, json.dumps({key: len(value)}))):
    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(name).write_text(text)
"""
BRANCH = "main"
WEIGHTS, REPORT = "models/finetuned.bin", "plots/report.html"


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a bare git repository and the clone `first`, which has run and pushed."""
    folder = tmp_path_factory.mktemp("team")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    roles = ("AUTHOR", "COMMITTER")
    names = {f"GIT_{role}_NAME": "x" for role in roles}
    names |= {f"GIT_{role}_EMAIL": "x@localhost" for role in roles}
    with serve_s3() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in (CREDENTIALS | names | {"PATH": path}).items():
            patch.setenv(name, value)
        run(folder, "git", "init", "-q", "--bare", "-b", BRANCH, "server.git")
        first = clone(folder, "first")
        run(first, "git", "checkout", "-q", "-b", BRANCH)
        run(first, "dvc", "init", "-q")
        files = {"dvc.yaml": DVC_YAML, "stage.py": STAGE, "params.yaml": "rate: slow\nwords: a\n"}
        files[".dvc/config"] = (ROOT / ".dvc/config").read_text()
        for name, text in files.items():
            (first / name).write_text(text)
        run(first, "dvc", "remote", "add", "-d", "team", f"s3://{BUCKET}/attune")
        run(first, "dvc", "remote", "modify", "team", "endpointurl", server.url)
        assert list_runs(run(first, "dvc", "repro")) == ["finetune", "report"]
        save(first, "First results")
        run(first, "dvc", "push", "--run-cache")
        yield folder


def test_a_second_clone_pulls_the_report_and_runs_no_stage(team):
    second = clone(team, "second")
    run(second, "dvc", "pull")
    assert (second / REPORT).read_bytes() == (team / "first" / REPORT).read_bytes()
    assert list_runs(run(second, "dvc", "repro")) == []
    assert "up to date" in run(second, "dvc", "status")
    assert run(second, "git", "status", "--porcelain") == ""


def test_an_experiment_goes_to_another_clone_with_its_files(team):
    second = clone(team, "experimenter")
    run(second, "dvc", "pull")
    ran = run(second, "dvc", "exp", "run", "-n", "mine", "-S", "rate=fast")
    assert list_runs(ran) == ["finetune", "report"]
    made = [(second / name).read_bytes() for name in (WEIGHTS, REPORT)]
    run(second, "dvc", "exp", "push", "origin", "mine")

    first = team / "first"
    assert "mine" in run(first, "dvc", "exp", "list", "origin")
    run(first, "dvc", "exp", "pull", "origin", "mine")
    run(first, "dvc", "exp", "apply", "mine")
    assert [(first / name).read_bytes() for name in (WEIGHTS, REPORT)] == made
    assert list_runs(run(first, "dvc", "repro")) == []
    run(first, "git", "checkout", "HEAD", "--", ".")
    run(first, "dvc", "checkout")


def test_with_the_run_cache_no_clone_runs_again_what_another_ran(team):
    """Of stages whose outputs are all in the cache: metrics that git keeps are not pushed."""
    first, other = team / "first", "rate: slow\nwords: b\n"
    (first / "params.yaml").write_text(other)
    assert list_runs(run(first, "dvc", "repro")) == ["report"]
    made = (first / REPORT).read_bytes()
    run(first, "dvc", "push", "--run-cache")
    run(first, "git", "checkout", "HEAD", "--", ".")
    run(first, "dvc", "checkout")

    third = clone(team, "third")
    run(third, "dvc", "pull", "--run-cache")
    (third / "params.yaml").write_text(other)
    output = run(third, "dvc", "repro", "--pull")
    assert "Stage 'report' is cached - skipping run" in output
    assert (third / REPORT).read_bytes() == made


def test_a_half_pulled_clone_fetches_the_rest_instead_of_running(team):
    half = clone(team, "half")
    run(half, "dvc", "pull", "report")
    assert not (half / WEIGHTS).exists()
    assert list_runs(run(half, "dvc", "repro", "--pull")) == []
    assert (half / REPORT).read_bytes() == (team / "first" / REPORT).read_bytes()


def clone(team: Path, name: str) -> Path:
    run(team, "git", "clone", "-q", "server.git", name)
    return team / name


def save(folder: Path, message: str) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-q", "-m", message)
    run(folder, "git", "push", "-q", "origin", BRANCH)


def list_runs(output: str) -> list[str]:
    """The stages that a command ran."""
    lines = output.splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("Running stage")]


def run(folder: Path, *command: str) -> str:
    """Run a command, which must succeed; what it wrote to stdout."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
