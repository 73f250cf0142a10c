"""Where a run works and how exactly: chosen once, from flags and from what the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch.optim import Optimizer

from util.clip import Clip
from util.errors import UserError
from util.placement.devices import Group, arrange, described, own_devices
from util.placement.memory import keep_freed_memory, peak_memory
from util.placement.precision import Precision, set_arithmetic
from util.placement.processes import Processes
from util.placement.stepping import Stepper


@dataclass(frozen=True)
class PlacementConfig:
    """gpu_ids: as given, None when it was not. n_gpus_gen, batch_size: see `devices.arrange`; the batch is this
    process's. amp, tf32, cudnn: see `precision`. sync_bn: batch norms share their statistics between processes.
    patience: how long a process waits for the slowest."""

    gpu_ids: str | None = None
    n_gpus_gen: int = -1
    batch_size: int = 1
    amp: str = "off"
    tf32: str = "on"
    cudnn: str = "heuristic"
    sync_bn: bool = False
    patience: timedelta = timedelta(minutes=30)


@dataclass(frozen=True)
class Placement:
    """reason: the choice in words, for the log."""

    groups: tuple[Group, ...]
    precision: Precision
    processes: Processes
    reason: str

    @property
    def device(self) -> torch.device:
        """Home."""
        return self.groups[0].home.device

    @property
    def n_gpus_gen(self) -> int:
        """Slots that share a window's frames: g of SPEC 2."""
        return len(self.groups[0].generators)

    def steppers(self, optimizers: Mapping[str, Optimizer], max_norm: float | None) -> dict[str, Stepper]:
        """By player. max_norm: longer gradients are shortened to it."""
        return {name: Stepper(optimizer, self.precision.scaler(), max_norm) for name, optimizer in optimizers.items()}

    def peak_memory(self) -> dict[str, float]:
        """GiB at most so far, of every device in use."""
        return peak_memory([slot.device for group in self.groups
                            for slot in (group.home, *group.generators, *group.discriminators)])

    @property
    def pin_memory(self) -> bool:
        return self.device.type == "cuda"

    def pinned(self, clips: Iterable[Clip]) -> Iterable[Clip]:
        """In page-locked memory, one after the other as they are asked for: a GPU fetches from there while it works."""
        return map(Clip.pin_memory, clips) if self.pin_memory else clips


def place(config: PlacementConfig) -> Placement:
    """UserError for devices that are not here, or that cannot do what is asked."""
    processes = Processes.of(os.environ)
    devices = own_devices(config.gpu_ids, processes.local_rank, processes.local_count)
    if config.sync_bn and (processes.count == 1 or devices[0].type != "cuda"):
        raise UserError("--sync_bn: torch shares the statistics of batch norms between processes on GPUs, found "
                        f"{processes.count} process(es) on {devices[0].type}: start with torchrun on GPUs, or leave it "
                        "out")
    groups = arrange(devices, config.n_gpus_gen, config.batch_size)
    arithmetic = set_arithmetic(config.tf32, config.cudnn)
    if devices[0].type == "cpu":
        keep_freed_memory()
    processes.join(devices[0], config.patience)
    return Placement(groups, Precision(config.amp, devices[0].type), processes,
                     _reason(config, groups, processes, arithmetic))


def _reason(config: PlacementConfig, groups: tuple[Group, ...], processes: Processes, arithmetic: str) -> str:
    parts = [f"device: {described(groups)}"]
    if config.gpu_ids is None and groups[0].home.device.type == "cpu":
        parts.append("(no CUDA GPU found; --gpu_ids was not given)")
    if processes.count > 1:
        parts.append(f"[process {processes.rank} of {processes.count}]")
    parts.append(f"| half precision {config.amp}" + (f", {arithmetic}" if groups[0].home.device.type == "cuda" else ""))
    return " ".join(parts)
