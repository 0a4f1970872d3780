"""The GPU's peak memory by part of the work: CUDA keeps one peak, set back here between parts."""

from collections.abc import Iterator
from contextlib import contextmanager

REST = "rest"
"""What is in no part: mostly, models that are loaded."""
_peaks_mib: dict[str, float] = {}
_parts = [REST]


@contextmanager
def watch_part(name: str) -> Iterator[None]:
    """Inside, the peak is that of part `name`, and of no part around it; for the main thread."""
    _end_part()
    _parts.append(name)
    try:
        yield
    finally:
        _end_part()
        _parts.pop()


def read_peaks() -> dict[str, float]:
    """The peak of each part up to now in MiB; empty where no GPU was used."""
    import torch  # noqa: PLC0415  # the report does without

    if not torch.cuda.is_initialized():
        return {}
    now_mib = torch.cuda.max_memory_allocated() / 2**20
    return _peaks_mib | {_parts[-1]: max(now_mib, _peaks_mib.get(_parts[-1], 0.0))}


def _end_part() -> None:
    if peaks := read_peaks():
        import torch  # noqa: PLC0415

        _peaks_mib.update(peaks)
        torch.cuda.reset_peak_memory_stats()
