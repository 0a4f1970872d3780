"""What is read of large files stays on the disk until it is used."""

import re
import sys
from pathlib import Path

import pytest
import torch

from stages.files.tensors import build_latents, read_latents, write_tensors

NUM_PAIRS, MIB = 4096, 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_latents_are_mapped_and_not_read_into_memory(tmp_path: Path) -> None:
    posterior = torch.randn(NUM_PAIRS, 4, 32, 32)
    num_bytes = 2 * posterior.nbytes
    latents = build_latents(posterior, posterior.clone(), ["train"] * NUM_PAIRS, 1.0)
    write_tensors(tmp_path / "latents", latents._asdict())
    del latents
    before = measure_own_memory()
    latents = read_latents(tmp_path / "latents")
    grown = measure_own_memory() - before
    assert num_bytes == 128 * MIB
    assert grown < num_bytes / 4
    assert torch.equal(latents.std[-1], posterior[-1])


def measure_own_memory() -> int:
    """Bytes that this process holds beside the files that it has mapped."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])
