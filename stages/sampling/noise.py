"""The noise of a picture: it depends on (`sample.seed`, prompt_id, index) and on nothing else.

Generators live on the CPU, one a picture, so that neither batch nor device changes what is drawn.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

SEED_BYTES = 6  # 48 bits: exact in a CSV column that a spreadsheet reads as float64


def derive_seed(seed: int, prompt_id: str, index: int) -> int:
    """The seed of picture `index` of a prompt, in [0, 2^48)."""
    digest = hashlib.blake2b(f"{seed}/{prompt_id}/{index}".encode(), digest_size=SEED_BYTES)
    return int.from_bytes(digest.digest(), "big")


def build_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator a picture."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def draw_initial_latents(
    generators: Sequence[torch.Generator], shape: tuple[int, int, int]
) -> Tensor:
    """Unit-normal latents (B, *shape), one generator each, on the CPU."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])
