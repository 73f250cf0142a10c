"""Peak memory, the allocator of the C library, and errors when memory runs out."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from util.errors import UserError

GIB = 2**30
# Parameters of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_OLD_GLIBC_MAX_MMAP_THRESHOLD = 2**25  # largest M_MMAP_THRESHOLD before glibc 2.35


def measure_peak_memory(devices: Sequence[torch.device]) -> dict[str, float]:
    """Return the peak memory so far by device name, in GiB.

    On GPUs: what torch allocated. On the CPU: the resident set size of this process.
    """
    peaks = {}
    for device in dict.fromkeys(devices):
        if device.type == "cuda":
            peaks[str(device)] = torch.cuda.max_memory_allocated(device) / GIB
        elif device.type == "cpu":
            unit = 1 if sys.platform == "darwin" else 1024
            peaks["cpu"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
    return peaks


def disable_malloc_trim() -> bool:
    """Make glibc keep freed memory for later tensors, and return whether that worked.

    By default glibc returns large blocks to the kernel. Each new tensor on the CPU then costs page
    faults, which take longer than a pass over its elements.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent in musl, for example
    if mallopt is None:
        return False
    for threshold in (GIB, _OLD_GLIBC_MAX_MMAP_THRESHOLD):
        if mallopt(_M_MMAP_THRESHOLD, threshold):
            return bool(mallopt(_M_TRIM_THRESHOLD, -1))
    return False


@contextmanager
def explain_out_of_memory(hints: Sequence[str]) -> Iterator[None]:
    """Raise a UserError with the hints when memory runs out inside.

    Args:
        hints: Flags that reduce memory, the most effective first.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
            raise
        reason = str(error).split(". ")[0].strip()
        raise UserError(
            f"out of memory ({reason}): try in this order {'; '.join(hints)}; "
            "--dry_run measures the effect"
        ) from None


def _is_out_of_memory(error: RuntimeError) -> bool:
    # torch's CPU allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
