import subprocess
from pathlib import Path

import pytest

from stages.commands.mend import mend
from stages.config.mistakes import UserError

LOCK = Path("dvc.lock").read_text(encoding="utf-8")
RWLOCK = '{"write": {}, "read": {"/x": [{"pid": 1, "cmd": "dvc repro"}]}}'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / ".dvc/tmp/rwlock").write_text(RWLOCK)
    return tmp_path


def test_whole_files_are_left_alone(folder):
    assert mend(folder) == []
    assert (folder / "dvc.lock").read_text() == LOCK
    assert (folder / ".dvc/tmp/rwlock").read_text() == RWLOCK


@pytest.mark.parametrize("name", ["dvc.lock", ".dvc/tmp/rwlock"])
def test_a_file_cut_off_is_removed(folder, name):
    file = folder / name
    text = file.read_text()
    for end in (0, text.index(":") + 2, text.rindex(":")):
        file.write_text(text[:end])
        assert mend(folder) == [Path(name)]
        assert not file.exists()


def test_files_that_are_not_there_are_no_mistake(tmp_path):
    assert mend(tmp_path) == []


@pytest.mark.parametrize("cache", [".dvc/cache", "elsewhere"])
def test_a_run_cache_entry_that_was_never_written_stops_dvc_until_it_is_mended(tmp_path, cache):
    """DVC makes the entry's folder first: a kill between the two leaves it empty."""
    (tmp_path / "dvc.yaml").write_text("stages: {copy: {cmd: cp a b, deps: [a], outs: [b]}}")
    (tmp_path / "a").write_text("a")
    run(tmp_path, "init", "--no-scm", "-q")
    run(tmp_path, "cache", "dir", cache)
    run(tmp_path, "repro", "-q")
    (entry,) = (path for path in (tmp_path / cache).glob("runs/*/*/*") if path.is_file())
    entry.unlink()
    (tmp_path / "dvc.lock").unlink()
    assert run(tmp_path, "repro").returncode != 0
    assert mend(tmp_path) == [entry.parent.relative_to(tmp_path)]
    assert run(tmp_path, "repro").returncode == 0
    assert mend(tmp_path) == []


def run(folder, *arguments):
    return subprocess.run(["dvc", *arguments], cwd=folder, check=False)


def test_a_merge_conflict_is_told_and_both_sides_are_kept(folder):
    head, tail = LOCK.split("stages:", 1)
    text = f"{head}stages:\n<<<<<<< HEAD\n  a: 1\n=======\n  a: 2\n>>>>>>> theirs\n{tail}"
    (folder / "dvc.lock").write_text(text)
    with pytest.raises(
        UserError, match=r"^dvc\.lock, line \d: a merge conflict; .*git checkout --theirs"
    ):
        mend(folder)
    assert (folder / "dvc.lock").read_text() == text


def test_each_file_with_a_merge_conflict_has_its_line(folder):
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        (folder / name).write_text("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> theirs\n")
    with pytest.raises(UserError) as caught:
        mend(folder)
    params, pipeline, lock = str(caught.value).splitlines()
    remedy = "keep what you want of both sides, and take out the lines <<<<<<<, ======= and >>>>>>>"
    assert params == f"params.yaml, line 2: a merge conflict; {remedy}"
    assert pipeline == f"dvc.yaml, line 2: a merge conflict; {remedy}"
    assert lock.startswith("dvc.lock, line 2: a merge conflict; take one side")
