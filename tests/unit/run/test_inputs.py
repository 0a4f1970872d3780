from pathlib import Path

import pytest

from stages.config.mistakes import UserError
from stages.config.params import load_params
from stages.run import inputs
from tests.unit.conftest import build_finetune_params
from tests.unit.stable_diffusion_project import edit_params, write_params


def test_files_that_are_not_there_are_named_by_their_keys_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    edit_params(tmp_path, "launch", num_processes=2, config_file="nowhere.yaml")
    edit_params(tmp_path, "prompts", file="nowhere.csv")
    with pytest.raises(UserError) as mistake:
        inputs.require_files(load_params())
    first, second = str(mistake.value).splitlines()
    assert first.startswith("params.yaml: prompts.file: no file nowhere.csv; ")
    assert second.startswith("params.yaml: launch.config_file: no file nowhere.yaml; ")


def test_an_optimizer_whose_package_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "find_spec", lambda _: None)
    inputs.require_optimizer(build_finetune_params())
    with pytest.raises(UserError, match=r"pip install -r requirements-8bit\.txt"):
        inputs.require_optimizer(build_finetune_params(optimizer="adamw_8bit"))
