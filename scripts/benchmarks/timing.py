"""Timing and peak memory of workloads that take turns in one process, and the device's limits."""

from __future__ import annotations

import ctypes
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from util.distributed.memory import measure_peak_memory

Workload = Callable[[], Iterable[object]]  # yields once per unit of work


@dataclass
class Timings:
    """Measurements of one workload.

    Attributes:
        seconds: Seconds of every unit, without the very first one if it was the warm-up.
        peak: Peak memory in GiB.
        outputs: What the units of the first round yielded.
    """

    seconds: list[float] = field(default_factory=list)
    peak: float = 0.0
    outputs: list[object] = field(default_factory=list)

    @property
    def median_seconds(self) -> float:
        """Median seconds of a unit."""
        return median(self.seconds)


def synchronize(device: torch.device) -> None:
    """Wait until a CUDA device has finished its queued work; do nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_interleaved(
    workloads: Mapping[str, Workload], rounds: int, device: torch.device, is_warm: bool = False
) -> dict[str, Timings]:
    """Time all workloads in every round, so that other load on the machine affects them alike.

    Args:
        workloads: Workloads by name.
        rounds: Number of rounds; each workload runs once per round.
        device: The device that they run on.
        is_warm: Whether all have run before. Otherwise the first unit of each is not counted.

    Returns:
        The timings by name.
    """
    timings = {name: Timings() for name in workloads}
    for i in range(rounds):
        for name, workload in workloads.items():
            result = timings[name]
            reset_peak_memory(device)
            seconds, outputs = time_units(workload(), device)
            if i == 0:
                result.outputs += outputs
                if not is_warm:
                    seconds = seconds[1:]
            result.seconds += seconds
            result.peak = max(result.peak, peak_memory_gib(device))
    return timings


def time_units(units: Iterable[object], device: torch.device) -> tuple[list[float], list[object]]:
    """Run a workload; return the seconds of every unit and what the units yielded."""
    seconds: list[float] = []
    outputs: list[object] = []
    synchronize(device)
    start = time.perf_counter()
    for output in units:
        synchronize(device)
        seconds.append(time.perf_counter() - start)
        outputs.append(output)
        start = time.perf_counter()
    return seconds, outputs


def peak_memory_gib(device: torch.device) -> float:
    """Return the peak memory of a device in GiB: of tensors on a GPU, of the process on a CPU."""
    return measure_peak_memory([device]).get(str(device), 0.0)


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak memory of a device; the peak of a process can be reset on Linux only."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    clear_refs = Path("/proc/self/clear_refs")
    if clear_refs.exists():
        clear_refs.write_text("5")  # 5 resets the peak resident set size, see proc(5)


def measure_peak_process_memory(workload: Workload, device: torch.device) -> float:
    """Return the peak memory in GiB while a workload runs.

    Memory that earlier work has freed but glibc has kept is returned to the system first.
    """
    malloc_trim = (
        getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    )
    if malloc_trim is not None:
        malloc_trim(0)
    reset_peak_memory(device)
    deque(workload(), maxlen=0)
    return peak_memory_gib(device)


@dataclass(frozen=True)
class DeviceLimits:
    """Measured limits of a device.

    Attributes:
        gmacs: 10^9 multiply-accumulates per second of a large matrix product, by precision.
        gbytes: 10^9 bytes per second, read and written, of a large copy.
    """

    gmacs: dict[str, float]
    gbytes: float


def measure_device_limits(device: torch.device, dtypes: Mapping[str, torch.dtype]) -> DeviceLimits:
    """Measure the limits of a device, for matrix products in each of the given types."""
    is_cuda = device.type == "cuda"
    size = 8192 if is_cuda else 2048
    source = torch.empty(2**28 if is_cuda else 2**26, device=device)
    target = torch.empty_like(source)
    copy_seconds = min_seconds(lambda: target.copy_(source), device)
    gmacs = {
        name: size**3 / 1e9 / min_seconds(make_matmul(size, device, dtype), device)
        for name, dtype in dtypes.items()
    }
    gbytes = 2 * source.numel() * source.element_size() / 1e9 / copy_seconds
    return DeviceLimits(gmacs, gbytes)


def make_matmul(size: int, device: torch.device, dtype: torch.dtype) -> Callable[[], Tensor]:
    """Return a function that multiplies two square matrices."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return lambda: a @ b


def min_seconds(function: Callable[[], object], device: torch.device, n_runs: int = 5) -> float:
    """Return the seconds of the fastest of `n_runs` calls, after one to warm up.

    The minimum is taken because a limit is what is reached without interference.
    """
    seconds, _ = time_units((function() for _ in range(n_runs + 1)), device)
    return min(seconds[1:])
