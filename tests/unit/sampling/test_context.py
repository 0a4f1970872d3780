import torch
from diffusers import UNet2DConditionModel
from torch import nn

from stages.sampling.context import ProjectOnce, project_context_once
from tests.tiny import TEXT_WIDTH, build_unet


def call(unet: UNet2DConditionModel, context: torch.Tensor, timestep: int) -> torch.Tensor:
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(timestep))
    return unet(latents, timestep, encoder_hidden_states=context).sample


@torch.no_grad()
def test_predictions_are_those_of_the_plain_unet() -> None:
    unet = build_unet().eval()
    contexts = [torch.randn(2, 5, TEXT_WIDTH) for _ in range(2)]
    calls = [(contexts[i], timestep) for timestep in (900, 500) for i in (0, 1)]
    expected = [call(unet, *arguments) for arguments in calls]
    project_context_once(unet)
    for arguments, prediction in zip(calls, expected, strict=True):
        assert torch.equal(call(unet, *arguments), prediction)


@torch.no_grad()
def test_each_layer_projects_a_context_once() -> None:
    unet = build_unet().eval()
    project_context_once(unet)
    layers = [module.linear for module in unet.modules() if isinstance(module, ProjectOnce)]
    num_calls = []
    for layer in layers:
        layer.register_forward_hook(lambda *_: num_calls.append(1))
    context = torch.randn(2, 5, TEXT_WIDTH)
    for timestep in (900, 500, 100):
        call(unet, context, timestep)
    num_attn2 = sum(name.endswith(".attn2") for name, _ in unet.named_modules())
    assert len(num_calls) == len(layers) == 2 * num_attn2 > 0


@torch.no_grad()  # a graph would keep the context
def test_a_projection_is_dropped_with_its_context() -> None:
    layer = ProjectOnce(nn.Linear(3, 2))
    context = torch.randn(1, 4, 3)
    layer(context)
    assert len(layer._projected) == 1
    del context
    assert len(layer._projected) == 0
