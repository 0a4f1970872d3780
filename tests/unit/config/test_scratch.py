import sys

import pytest

from stages.config import paths
from stages.config.scratch import hash_code, mark_finished, remove_finished


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_finished_work_stays_until_another_stage_starts():
    done, open_ = paths.SCRATCH / "finetune/a", paths.SCRATCH / "finetune/b"
    mark_finished(done)
    open_.mkdir()
    remove_finished("finetune")
    assert done.exists()
    remove_finished("sample@finetuned")
    assert not done.exists()
    assert open_.exists()


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
