"""What a GPU may do to the numbers: float32 is float32, and the same work gives the same bytes."""

import os
import sys


def ask_for_exact_numbers() -> None:
    """Set CUDA's switches, if torch is loaded and finds a GPU; a CPU's numbers stay as they are.

    By default cuDNN rounds the inputs of float32 convolutions to TF32 (10 bits) on Ampere and
    newer, and picks algorithms that add in an order that changes.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    # cuBLAS reads it when it starts; with streams of their own its workspaces would differ.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # An operation that knows no such algorithm is told on stderr, and runs as ever.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # for debugging, and slow
