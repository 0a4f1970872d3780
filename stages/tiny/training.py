"""One resumable training loop for all parts of the tiny base: AdamW, cosine, moving average.

A step's batch and noise come from a generator seeded by (plan.seed, step), so a run that was killed
goes on to the same weights as one that was not. Checkpoints are safetensors, written beside and
then renamed.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from stages.files.atomic import replace_file
from stages.tiny.recipe import SCRATCH, Plan

ComputeLoss = Callable[[torch.Generator], Tensor]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class State(NamedTuple):
    """All that a checkpoint holds besides the step."""

    parameters: dict[str, nn.Parameter]
    average: dict[str, Tensor]
    buffers: dict[str, Tensor]
    optimizer: torch.optim.Optimizer


def train(plan: Plan, model: nn.Module, compute_loss: ComputeLoss) -> None:
    """Train `model` by the plan and leave the moving average of its weights in it.

    Args:
        plan: Steps, batch size, learning rate; its name is the checkpoint's.
        model: On `DEVICE`; holds all trainable parameters.
        compute_loss: Draws its own batch from the generator, on the CPU.

    Raises:
        FloatingPointError: The loss of a step is not finite.
    """
    path = SCRATCH / f"{plan.name}.safetensors"
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    average = {n: p.detach().clone() for n, p in parameters.items()}
    optimizer = torch.optim.AdamW(
        parameters.values(),
        lr=plan.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=plan.weight_decay,
        fused=True,
    )
    state = State(parameters, average, dict(model.named_buffers()), optimizer)
    first = _load_checkpoint(path, state) if path.exists() else 0
    bar = tqdm(range(first, plan.num_steps), initial=first, total=plan.num_steps, desc=plan.name)
    smooth = None
    model.train()
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = _schedule_learning_rate(plan, step)
        loss = _take_step(plan, step, parameters, optimizer, compute_loss)
        decay = min(plan.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(average.values()), [p.detach() for p in parameters.values()], 1 - decay
        )
        smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
        bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
        if (step + 1) % plan.checkpoint_steps == 0 or step + 1 == plan.num_steps:
            _save_checkpoint(path, step + 1, state)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(average[name])
    model.eval()


def autocast() -> torch.autocast:
    """Bfloat16 autocast on the GPU and on CPUs that multiply in it; float32 elsewhere."""
    is_fast = DEVICE.type == "cuda" or _has_cpu_bfloat16()
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=is_fast)


def _has_cpu_bfloat16() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "avx512_bf16" in cpuinfo.read_text()


def _take_step(
    plan: Plan,
    step: int,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    compute_loss: ComputeLoss,
) -> float:
    loss = compute_loss(torch.Generator().manual_seed(plan.seed * 10_000_019 + step))
    if not math.isfinite(loss.item()):
        raise FloatingPointError(f"{plan.name}: loss is {loss.item()} at step {step}")
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters.values(), 1.0)
    optimizer.step()
    return loss.item()


def _schedule_learning_rate(plan: Plan, step: int) -> float:
    if step < plan.lr_warmup_steps:
        return plan.learning_rate * (step + 1) / plan.lr_warmup_steps
    done = (step - plan.lr_warmup_steps) / max(1, plan.num_steps - plan.lr_warmup_steps)
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _save_checkpoint(path: Path, step: int, state: State) -> None:
    tensors = {"step": torch.tensor(step)}
    for name, parameter in state.parameters.items():
        adam = state.optimizer.state[parameter]
        tensors[f"weight/{name}"] = parameter.detach()
        tensors[f"average/{name}"] = state.average[name]
        tensors[f"exp_avg/{name}"] = adam["exp_avg"]
        tensors[f"exp_avg_sq/{name}"] = adam["exp_avg_sq"]
    tensors |= {f"buffer/{name}": buffer for name, buffer in state.buffers.items()}
    with replace_file(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)


@torch.no_grad()
def _load_checkpoint(path: Path, state: State) -> int:
    tensors = load_file(path, device=str(DEVICE))
    step = int(tensors["step"])
    for name, parameter in state.parameters.items():
        parameter.copy_(tensors[f"weight/{name}"])
        state.average[name].copy_(tensors[f"average/{name}"])
        state.optimizer.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": tensors[f"exp_avg/{name}"].clone(),
            "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].clone(),
        }
    for name, buffer in state.buffers.items():
        buffer.copy_(tensors[f"buffer/{name}"])
    return step
