import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.config import paths
from stages.config.mistakes import UserError
from stages.run.scratch import hash_code, hold_stage, mark_finished, remove_finished

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_finished_work_stays_until_another_stage_starts():
    done, open_ = paths.SCRATCH / "finetune/a", paths.SCRATCH / "finetune/b"
    mark_finished(done, write_cost())
    open_.mkdir()
    remove_finished("finetune")
    assert done.exists()
    remove_finished("sample@finetuned")
    assert not done.exists()
    assert open_.exists()


def test_a_run_that_is_forced_after_dvc_saved_the_last_one_starts_anew():
    done, cost = paths.SCRATCH / "finetune/a", write_cost()
    mark_finished(done, cost)
    Path("dvc.lock").write_text("outs:\n- path: cost.json\n  md5: of an earlier run\n")
    remove_finished("finetune")
    assert done.exists()  # DVC was killed before it saved
    Path("dvc.lock").write_text(f"md5: {hashlib.md5(cost.read_bytes()).hexdigest()}\n")
    remove_finished("finetune")
    assert not done.exists()


def write_cost():
    path = Path("cost.json")
    path.write_text('{"duration_s": 1.25}')
    return path


def test_a_second_process_of_a_stage_is_refused_until_the_first_has_ended():
    code = "from stages.run.scratch import hold_stage\nwith hold_stage('encode'): input()"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code + "\n"], env=env, stdin=subprocess.PIPE
    ) as other:
        wait_for(paths.SCRATCH / "encode.lock")
        with pytest.raises(UserError, match="encode is already running in this folder"):
            hold_and_leave("encode")
        hold_and_leave("finetune")
        other.kill()
    hold_and_leave("encode")


def hold_and_leave(stage):
    with hold_stage(stage):
        pass


def wait_for(file):
    while not file.exists():
        time.sleep(0.01)
    time.sleep(0.2)  # between the file and the lock on it


def test_the_code_is_that_of_our_loaded_modules(tmp_path, monkeypatch):
    before = hash_code()
    file = tmp_path / "new.py"
    file.write_text("x = 1")
    module = type(sys)("stages.new")
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "stages.new", module)
    after = hash_code()
    assert after != before
    file.write_text("x = 2")
    assert hash_code() != after
