"""How much memory a step takes, and what to do when it is too much."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from util.errors import UserError

GIB = 2**30
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD
_OLD_GLIBC_MAX_MMAP_THRESHOLD = 2**25  # of the first, before glibc 2.35


def measure_peak_memory(devices: Sequence[torch.device]) -> dict[str, float]:
    """GiB at most so far, by device: what torch allocated on GPUs, what this process had resident on the CPU."""
    found = {}
    for device in dict.fromkeys(devices):
        if device.type == "cuda":
            found[str(device)] = torch.cuda.max_memory_allocated(device) / GIB
        elif device.type == "cpu":
            unit = 1 if sys.platform == "darwin" else 1024
            found["cpu"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
    return found


def disable_malloc_trim() -> bool:
    """Has glibc keep what tensors on the CPU give back, for the next ones: a page that is new to the process costs more
    than a pass over it. Returns whether there is a glibc to ask."""
    adjust = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return adjust is not None and bool(
        (adjust(_M_MMAP_THRESHOLD, GIB) or adjust(_M_MMAP_THRESHOLD, _OLD_GLIBC_MAX_MMAP_THRESHOLD))
        and adjust(_M_TRIM_THRESHOLD, -1)
    )


@contextmanager
def explain_out_of_memory(hints: Sequence[str]) -> Iterator[None]:
    """knobs: what to turn, in order of value. UserError instead of torch's message when memory runs out."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as fault:
        if isinstance(fault, RuntimeError) and not _is_out_of_memory(fault):
            raise
        asked = str(fault).split(". ")[0].strip()
        raise UserError(
            f"memory ran out ({asked}): in order of value, {'; '.join(hints)}; --dry_run measures a change"
        ) from None


def _is_out_of_memory(error: RuntimeError) -> bool:
    """torch's allocator for CPUs has no exception of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
