"""A GPU that isn't there: tensors on `cuda` are fake, and those on the CPU are real.

What runs here runs on a GPU as well, as far as devices and dtypes go: an operation on both devices
raises, and so does one on two dtypes. Fake tensors have no values, so whatever comes back from
`cuda` is 0, or True. Each such copy is a wait of the host for the GPU, and is noted.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)
PATCHES = {
    "is_available": True,
    "is_bf16_supported": True,
    "device_count": 1,
    "current_device": 0,
    "set_device": None,
}
"""What `torch.cuda` answers."""
ONE_DTYPE = {aten.convolution, aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.native_layer_norm}
ONE_DTYPE |= {aten.native_group_norm}
"""Operations that CUDA's kernels refuse on two dtypes; those of fake tensors don't look."""


class PretendCuda(TorchDispatchMode):
    """Computes for real what is on the CPU alone; `waits` names what the host waited for."""

    def __init__(self, fake_mode: FakeTensorMode) -> None:
        super().__init__()
        self._fake_mode, self.waits = fake_mode, list[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Send an operation to where its tensors are."""
        kwargs = kwargs or {}
        if func.namespace == "prim":  # the device of a fake tensor
            return func(*args, **kwargs)
        with self:  # in inference mode even `linear` arrives whole
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        target = kwargs.get("device")
        is_fake = any(isinstance(tensor, FakeTensor) for tensor in tensors)
        if not is_fake and torch.device(target or "cpu").type != "cuda":
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func.overloadpacket == aten._local_scalar_dense:
            self.waits.append("item")
            return tensors[0].dtype == torch.bool or 0
        if func.overloadpacket in ONE_DTYPE:
            dtypes = {tensor.dtype for tensor in tensors}
            assert len(dtypes) == 1, f"{func}: two dtypes, {dtypes}"
        args, kwargs = tree_map_only(Tensor, self._make_fake, (args, kwargs))
        result = func(*args, **kwargs)
        if is_fake and isinstance(result, Tensor) and result.device.type == "cpu":
            self.waits.append("copy")
            with unset_fake_temporarily():
                fill = float(result.dtype == torch.bool)
                return torch.full(result.shape, fill, dtype=result.dtype)
        return result

    def leave_gradients(
        self, tensor: Tensor, gradient: Tensor | None = None, *_: object, **__: object
    ) -> None:
        """In place of `torch.autograd.backward`, whose engine asks the driver for streams.

        What was kept for the gradient is looked at, so that checkpointed blocks compute again, and
        each leaf that the graph leads to gets a gradient.
        """
        if gradient is not None:
            assert (gradient.device, gradient.dtype) == (tensor.device, tensor.dtype)
        seen, waiting = set(), [tensor.grad_fn]
        with patch("torch._C._current_graph_task_id", lambda: 0):  # all of it is one pass
            while waiting:
                node = waiting.pop()
                if node is None or node in seen:
                    continue
                seen.add(node)
                waiting += [parent for parent, _ in node.next_functions]
                if hasattr(node, "variable"):
                    leaf = node.variable
                    leaf.grad = torch.zeros_like(leaf)
                    self.waits += ["copy"] * (leaf.device.type == "cpu" != tensor.device.type)
                for name in dir(node):
                    if name.startswith("_saved_"):
                        getattr(node, name)

    def find_gradient(self, output: Tensor, leaf: Tensor, gradient: Tensor | None = None) -> Any:
        """In place of `torch.autograd.grad`, of one output with respect to one leaf."""
        self.leave_gradients(output, gradient)
        assert leaf.grad is not None, "the graph does not lead there"
        found, leaf.grad = leaf.grad, None
        return (found,)

    def _make_fake(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, FakeTensor):
            return tensor
        with self._fake_mode:
            return torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device
            )


@contextmanager
def pretend_cuda() -> Iterator[PretendCuda]:
    """Inside, in this thread, there is a GPU."""
    swap = torch.__future__.get_swap_module_params_on_conversion()
    # A real parameter that moves becomes a fake one, and must stay the same object.
    torch.__future__.set_swap_module_params_on_conversion(True)
    fake_mode = FakeTensorMode(allow_non_fake_inputs=False)
    try:
        with ExitStack() as stack:
            stack.enter_context(fake_mode)  # first: it does more where it sees no GPU
            stack.enter_context(patch("torch.utils.weakref.getweakrefs", lambda _: []))
            for name, answer in PATCHES.items():
                stack.enter_context(patch(f"torch.cuda.{name}", lambda *_, a=answer, **__: a))
            gpu = stack.enter_context(PretendCuda(fake_mode))
            stack.enter_context(patch("torch.autograd.backward", gpu.leave_gradients))
            stack.enter_context(patch("torch.autograd.grad", gpu.find_gradient))
            yield gpu
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swap)
