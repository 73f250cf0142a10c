"""Setup of devices, precision and processes from flags and the machine."""

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
    """Flags that choose devices, precision and processes.

    Attributes:
        gpu_ids: Value of `--gpu_ids`, None if it was not given (see `select_local_devices`).
        n_gpus_gen: Number of devices that generate (see `make_device_groups`).
        batch_size: Clips per step of this process.
        amp: Half precision: off, bf16 or fp16 (see `Precision`).
        tf32: on or off (see `set_backend_flags`).
        cudnn: heuristic, benchmark or deterministic (see `set_backend_flags`).
        sync_bn: Whether batch norms share their statistics between processes.
        timeout: How long a process waits for the slowest one.
    """

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
    """Device groups, precision and processes of a run.

    Attributes:
        groups: Device groups of this process.
        precision: Precision of networks and losses.
        process_group: All processes of the run.
        summary: Description of the setup, for the log.
    """

    groups: tuple[DeviceGroup, ...]
    precision: Precision
    process_group: ProcessGroup
    summary: str

    @property
    def device(self) -> torch.device:
        """Device of the primary weights."""
        return self.groups[0].primary.device

    @property
    def n_gpus_gen(self) -> int:
        """Number of slots that split the frames of a window."""
        return len(self.groups[0].generators)

    def wrap_optimizers(
        self, optimizers: Mapping[str, Optimizer], max_norm: float | None
    ) -> dict[str, AmpOptimizer]:
        """Wrap each optimizer with a gradient scaler and clipping to `max_norm` (None: none)."""
        return {
            name: AmpOptimizer(optimizer, self.precision.make_grad_scaler(), max_norm)
            for name, optimizer in optimizers.items()
        }

    def measure_peak_memory(self) -> dict[str, float]:
        """Return the peak memory of every device in use so far, in GiB."""
        devices = []
        for group in self.groups:
            slots = (group.primary, *group.generators, *group.discriminators)
            devices += [slot.device for slot in slots]
        return measure_peak_memory(devices)

    @property
    def uses_pinned_memory(self) -> bool:
        return self.device.type == "cuda"

    def pin_clips(self, clips: Iterable[Clip]) -> Iterable[Clip]:
        """Pin each clip when it is requested, so that its copy to the GPU overlaps computation."""
        return map(Clip.pin_memory, clips) if self.uses_pinned_memory else clips


def setup_devices(config: DeviceConfig) -> DeviceSetup:
    """Select devices, set backend flags and join the process group that torchrun describes.

    Raises:
        UserError: A device is not available, the devices cannot be grouped, or they do not support
            a flag.
    """
    process_group = ProcessGroup.from_environment(os.environ)
    devices = select_local_devices(
        config.gpu_ids, process_group.local_rank, process_group.local_world_size
    )
    device_type = devices[0].type
    if config.sync_bn and (process_group.world_size == 1 or device_type != "cuda"):
        raise UserError(
            "--sync_bn: needs several processes on GPUs, found "
            f"{process_group.world_size} process(es) on {device_type}: start with torchrun on GPUs, "
            "or omit it"
        )
    groups = make_device_groups(devices, config.n_gpus_gen, config.batch_size)
    backend_flags = set_backend_flags(config.tf32, config.cudnn)
    if device_type == "cpu":
        disable_malloc_trim()
    process_group.init_process_group(devices[0], config.timeout)
    precision = Precision(config.amp, device_type)
    summary = _summarize_setup(config, groups, process_group, backend_flags)
    return DeviceSetup(groups, precision, process_group, summary)


def _summarize_setup(
    config: DeviceConfig,
    groups: tuple[DeviceGroup, ...],
    process_group: ProcessGroup,
    backend_flags: str,
) -> str:
    device_type = groups[0].primary.device.type
    parts = [f"device: {describe_device_groups(groups)}"]
    if config.gpu_ids is None and device_type == "cpu":
        parts.append("(no CUDA GPU found; --gpu_ids was not given)")
    if process_group.world_size > 1:
        parts.append(f"[process {process_group.rank} of {process_group.world_size}]")
    precision = f"| half precision {config.amp}"
    if device_type == "cuda":
        precision += f", {backend_flags}"
    return " ".join([*parts, precision])
