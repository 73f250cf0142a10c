"""Where a run works and how exactly: chosen once, from flags and from what the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch.optim import Optimizer

from util.clip import Clip
from util.distributed.amp import Precision, set_backend_flags
from util.distributed.devices import (
    DeviceGroup,
    describe_device_groups,
    make_device_groups,
    select_local_devices,
)
from util.distributed.memory import disable_malloc_trim, measure_peak_memory
from util.distributed.optimizer import AmpOptimizer
from util.distributed.process_group import ProcessGroup
from util.errors import UserError


@dataclass(frozen=True)
class DeviceConfig:
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
    timeout: timedelta = timedelta(minutes=30)


@dataclass(frozen=True)
class DeviceSetup:
    """reason: the choice in words, for the log."""

    groups: tuple[DeviceGroup, ...]
    precision: Precision
    process_group: ProcessGroup
    summary: str

    @property
    def device(self) -> torch.device:
        """Home."""
        return self.groups[0].primary.device

    @property
    def n_gpus_gen(self) -> int:
        """Slots that share a window's frames: g of SPEC 2."""
        return len(self.groups[0].generators)

    def wrap_optimizers(
        self, optimizers: Mapping[str, Optimizer], max_norm: float | None
    ) -> dict[str, AmpOptimizer]:
        """By player. max_norm: longer gradients are shortened to it."""
        return {
            name: AmpOptimizer(optimizer, self.precision.make_grad_scaler(), max_norm)
            for name, optimizer in optimizers.items()
        }

    def measure_peak_memory(self) -> dict[str, float]:
        """GiB at most so far, of every device in use."""
        return measure_peak_memory(
            [
                slot.device
                for group in self.groups
                for slot in (group.primary, *group.generators, *group.discriminators)
            ]
        )

    @property
    def uses_pinned_memory(self) -> bool:
        return self.device.type == "cuda"

    def pin_clips(self, clips: Iterable[Clip]) -> Iterable[Clip]:
        """In page-locked memory, one after the other as they are asked for: a GPU fetches from there while it works."""
        return map(Clip.pin_memory, clips) if self.uses_pinned_memory else clips


def setup_devices(config: DeviceConfig) -> DeviceSetup:
    """UserError for devices that are not here, or that cannot do what is asked."""
    processes = ProcessGroup.from_environment(os.environ)
    devices = select_local_devices(config.gpu_ids, processes.local_rank, processes.local_world_size)
    if config.sync_bn and (processes.world_size == 1 or devices[0].type != "cuda"):
        raise UserError(
            "--sync_bn: torch shares the statistics of batch norms between processes on GPUs, found "
            f"{processes.world_size} process(es) on {devices[0].type}: start with torchrun on GPUs, or leave it "
            "out"
        )
    groups = make_device_groups(devices, config.n_gpus_gen, config.batch_size)
    arithmetic = set_backend_flags(config.tf32, config.cudnn)
    if devices[0].type == "cpu":
        disable_malloc_trim()
    processes.init_process_group(devices[0], config.timeout)
    return DeviceSetup(
        groups,
        Precision(config.amp, devices[0].type),
        processes,
        _summarize_setup(config, groups, processes, arithmetic),
    )


def _summarize_setup(
    config: DeviceConfig,
    groups: tuple[DeviceGroup, ...],
    process_group: ProcessGroup,
    backend_flags: str,
) -> str:
    parts = [f"device: {describe_device_groups(groups)}"]
    if config.gpu_ids is None and groups[0].primary.device.type == "cpu":
        parts.append("(no CUDA GPU found; --gpu_ids was not given)")
    if process_group.world_size > 1:
        parts.append(f"[process {process_group.rank} of {process_group.world_size}]")
    parts.append(
        f"| half precision {config.amp}"
        + (f", {backend_flags}" if groups[0].primary.device.type == "cuda" else "")
    )
    return " ".join(parts)
