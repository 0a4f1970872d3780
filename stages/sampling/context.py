"""Project a prompt's embedding once: what cross-attention makes of it is the same at every step."""

from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary


class ProjectOnce(nn.Module):
    """A linear layer that projects each tensor once, and keeps the result while the tensor lives.

    Tensors are told apart by identity, so several threads may use the layer, each with its own.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self._projected = WeakTensorKeyDictionary()

    def forward(self, context: Tensor) -> Tensor:
        """Project (B, L, D) to (B, L, C)."""
        if context not in self._projected:
            self._projected[context] = self.linear(context)
        return self._projected[context]


def project_context_once(unet: UNet2DConditionModel) -> None:
    """Let the keys and values of `attn2` be computed once a prompt; for a U-Net that only samples.

    The layers get other names in the state dict, and the tensor that is given as
    `encoder_hidden_states` must be the same object at every step.
    """
    for name, module in unet.named_modules():
        if name.rsplit(".", maxsplit=1)[-1] == "attn2":
            module.to_k = ProjectOnce(module.to_k)
            module.to_v = ProjectOnce(module.to_v)
