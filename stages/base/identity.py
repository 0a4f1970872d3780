"""Which base a checkpoint fits: the one it was trained on, known by its weights, and no other."""

import hashlib
from collections.abc import Mapping

from torch import Tensor, nn

from stages.config.mistakes import UserError


def fingerprint_weights(model: nn.Module) -> str:
    """SHA-256 of the names, shapes and float32 values of all weights: the base's identity."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def check_fingerprint(found: str, expected: str, model: str, part: str = "U-Net") -> None:
    """Refuse a base on which the weights were not trained; `part` says which of its parts differs.

    Raises:
        UserError: The two fingerprints differ.
    """
    if found != expected:
        raise UserError(
            f"the fine-tuned weights were trained on another base than {model} ({part} "
            f"{expected[:12]}, found {found[:12]}); run `dvc repro finetune`"
        )


def check_fit(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Refuse weights that the base does not have.

    Raises:
        UserError: A name or a shape that is not in the base's state.
    """
    for name, weight in weights.items():
        if name not in state:
            raise UserError(f"the base's U-Net has no weight {name}; train again for this base")
        if state[name].shape != weight.shape:
            raise UserError(
                f"{name} is {tuple(weight.shape)}, but {tuple(state[name].shape)} in the base's "
                "U-Net; train again for this base"
            )
