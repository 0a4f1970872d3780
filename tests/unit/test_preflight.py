import pytest

from stages import preflight
from stages.config.mistakes import UserError
from tests.unit.conftest import build_finetune_params


def test_an_optimizer_whose_package_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda _: None)
    preflight.require_optimizer(build_finetune_params())
    with pytest.raises(UserError, match=r"pip install -r requirements-8bit\.txt"):
        preflight.require_optimizer(build_finetune_params(optimizer="adamw_8bit"))
