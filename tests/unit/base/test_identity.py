import pytest
import torch

from stages.base.components import load_unet
from stages.base.identity import check_fingerprint, check_fit, fingerprint_weights
from stages.config.mistakes import UserError
from stages.config.params import BaseParams


def test_one_changed_value_changes_the_fingerprint(base: BaseParams) -> None:
    unet = load_unet(base)
    before = fingerprint_weights(unet)
    assert fingerprint_weights(load_unet(base)) == before
    with torch.no_grad():
        unet.conv_in.weight[0, 0, 0, 0] += 1e-3
    assert fingerprint_weights(unet) != before


def test_another_base_is_refused() -> None:
    with pytest.raises(UserError, match="another base than models/other"):
        check_fingerprint("a" * 64, "b" * 64, "models/other")


def test_a_foreign_shape_is_refused() -> None:
    with pytest.raises(UserError, match=r"a is \(1, 2\), but \(2,\) in the base"):
        check_fit({"a": torch.zeros(1, 2)}, {"a": torch.zeros(2)})
