"""How much memory a step takes, and what to do when it is too much."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from util.errors import UserError

GIB = 2**30


def peak_memory(devices: Sequence[torch.device]) -> dict[str, float]:
    """GiB at most so far, by device: what torch allocated on GPUs, what this process had resident on the CPU."""
    found = {}
    for device in dict.fromkeys(devices):
        if device.type == "cuda":
            found[str(device)] = torch.cuda.max_memory_allocated(device) / GIB
        elif device.type == "cpu":
            unit = 1 if sys.platform == "darwin" else 1024
            found["cpu"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
    return found


@contextmanager
def explaining_exhaustion(knobs: Sequence[str]) -> Iterator[None]:
    """knobs: what to turn, in order of value. UserError instead of torch's message when memory runs out."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as fault:
        if isinstance(fault, RuntimeError) and not _is_exhaustion(fault):
            raise
        asked = str(fault).split(". ")[0].strip()
        raise UserError(f"memory ran out ({asked}): in order of value, {'; '.join(knobs)}; --dry_run measures a change"
                        ) from None


def _is_exhaustion(fault: RuntimeError) -> bool:
    """torch's allocator for CPUs has no exception of its own."""
    return isinstance(fault, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(fault)
