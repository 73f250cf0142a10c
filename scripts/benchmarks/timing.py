"""Time and memory of ways to do the same thing, taken in turn in one process, and what the device can do at best."""

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

Workload = Callable[[], Iterable[object]]  # every item is one unit of work


@dataclass
class Timings:
    """seconds: of every unit, the first of all left out where it warms up. peak: GiB. made: the first round's units."""

    seconds: list[float] = field(default_factory=list)
    peak: float = 0.0
    outputs: list[object] = field(default_factory=list)

    @property
    def median_seconds(self) -> float:
        return median(self.seconds)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_interleaved(
    workloads: Mapping[str, Workload], rounds: int, device: torch.device, is_warm: bool = False
) -> dict[str, Timings]:
    """All ways in every round, so that what else the machine does meets them alike. warm: all have worked before."""
    taken = {name: Timings() for name in workloads}
    for number in range(rounds):
        for name, way in workloads.items():
            reset_peak_memory(device)
            seconds, made = time_units(way(), device)
            taken[name].seconds += seconds if is_warm or number else seconds[1:]
            taken[name].outputs += made if number == 0 else []
            taken[name].peak = max(
                taken[name].peak, measure_peak_memory([device]).get(str(device), 0.0)
            )
    return taken


def time_units(units: Iterable[object], device: torch.device) -> tuple[list[float], list[object]]:
    seconds, made = [], []
    synchronize(device)
    began = time.perf_counter()
    for unit in units:
        synchronize(device)
        seconds.append(time.perf_counter() - began)
        made.append(unit)
        began = time.perf_counter()
    return seconds, made


def reset_peak_memory(device: torch.device) -> None:
    """Peaks count from here on; of a process on the CPU only where Linux lets it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (knob := Path("/proc/self/clear_refs")).exists():
        knob.write_text("5")


def measure_peak_process_memory(workload: Workload, device: torch.device) -> float:
    """GiB at most while it works. What earlier work has given back, and glibc has kept, is not counted."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    reset_peak_memory(device)
    deque(workload(), maxlen=0)
    return measure_peak_memory([device]).get(str(device), 0.0)


@dataclass(frozen=True)
class DeviceLimits:
    """gmacs: 10^9 multiply-accumulates a second of a big matrix product, by precision. gbytes: 10^9 bytes a second,
    read and written, of a big copy."""

    gmacs: dict[str, float]
    gbytes: float


def measure_device_limits(device: torch.device, dtypes: Mapping[str, torch.dtype]) -> DeviceLimits:
    side = 8192 if device.type == "cuda" else 2048
    big = torch.empty(2**28 if device.type == "cuda" else 2**26, device=device)
    copied = torch.empty_like(big)
    copy = min_seconds(lambda: copied.copy_(big), device)
    return DeviceLimits(
        {
            name: side**3 / 1e9 / min_seconds(make_matmul(side, device, dtype), device)
            for name, dtype in dtypes.items()
        },
        2 * big.numel() * big.element_size() / 1e9 / copy,
    )


def make_matmul(size: int, device: torch.device, dtype: torch.dtype) -> Callable[[], Tensor]:
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return lambda: a @ b


def min_seconds(function: Callable[[], object], device: torch.device, n_runs: int = 5) -> float:
    """Seconds of the fastest run: a limit is what is reached when nothing disturbs."""
    return min(time_units((function() for _ in range(n_runs + 1)), device)[0][1:])
