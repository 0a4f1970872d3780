"""On what the stages compute, and why it is not a GPU where there is one."""

import os
import warnings

import torch

from stages.config.mistakes import UserError
from stages.config.params import BaseParams


def choose_device() -> torch.device:
    """The first of CUDA, Apple's MPS and the CPU that is there."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_precision(base: BaseParams, device: torch.device) -> str:
    """The base's precision.

    Raises:
        UserError: It is fp16, and the device is no CUDA GPU, on which it would take days.
    """
    if base.precision == "fp16" and device.type != "cuda":
        raise UserError(
            "params.yaml: bases.*.precision: found fp16, which needs a CUDA GPU, and this would "
            f"run on {describe_device(device)}; mend that, or set fp32 to run it there all the same"
        )
    return base.precision


def require_device(base: BaseParams) -> None:
    """Refuse a device that can't compute the base in its precision.

    Raises:
        UserError: fp16 without CUDA, or a GPU that is too old for this torch.
    """
    device = choose_device()
    choose_precision(base, device)
    if device.type != "cuda":
        return
    oldest = min(int(arch[3:]) for arch in torch.cuda.get_arch_list() if arch[:3] == "sm_")
    major, minor = torch.cuda.get_device_capability()
    if 10 * major + minor < oldest:
        raise UserError(
            f"{torch.cuda.get_device_name()} is of compute capability {major}.{minor}, and torch "
            f"{torch.__version__} needs {oldest // 10}.{oldest % 10}; install a torch that was "
            "built for it, or hide it with CUDA_VISIBLE_DEVICES= to run on the CPU"
        )


def describe_device(device: torch.device) -> str:
    """Its name in words; without CUDA, the reason."""
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        return f"{torch.cuda.get_device_name(device)} ({memory / 2**30:.0f} GiB)"
    name = "the CPU" if device.type == "cpu" else device.type
    return f"{name} (no CUDA: {_explain_no_cuda()})"


def _explain_no_cuda() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without it"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides it"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the same, at length
            torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0].split(". ")[0].rstrip(".")
    return "no GPU was found"
