"""From `--gpu_ids` to devices, and from devices to groups that share the work (SPEC 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from util.errors import UserError


@dataclass(frozen=True)
class DeviceSlot:
    """One entry of `--gpu_ids`. number: its place there; a device may stand at several, and each has its own weights.
    Number 0 is home: the master weights are there, and the optimisers'."""

    index: int
    device: torch.device


@dataclass(frozen=True)
class DeviceGroup:
    """Slots that work on the same clips. home: where clips arrive and frames are gathered. generators: paint the frames
    of a window in turn. discriminators: share its frames and temporal groups."""

    primary: DeviceSlot
    generators: tuple[DeviceSlot, ...]
    discriminators: tuple[DeviceSlot, ...]


def parse_device(name: str) -> torch.device:
    """UserError for a device that is not here."""
    if name in ("-1", "cpu"):
        return torch.device("cpu")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(
                "--gpu_ids mps: no Apple GPU is available here: give --gpu_ids -1 for the CPU"
            )
        return torch.device("mps")
    if not name.isdigit():
        raise UserError(
            f"--gpu_ids {name}: expected numbers of GPUs with commas between, -1, cpu or mps"
        )
    if int(name) >= torch.cuda.device_count():
        raise UserError(
            f"--gpu_ids {name}: this machine has {torch.cuda.device_count()} CUDA GPUs, numbered from 0: "
            "give one that is there, or --gpu_ids -1 for the CPU"
        )
    return torch.device("cuda", int(name))


def select_local_devices(
    gpu_ids: str | None, local_rank: int = 0, local_world_size: int = 1
) -> list[torch.device]:
    """Those of process number `local_rank` of the `local_count` on this machine: an equal run of the list each, or the
    one device that all name. gpu_ids: as given, None when it was not: a GPU each, or the CPU where there is none."""
    if gpu_ids is None:
        gpu_ids = str(local_rank) if torch.cuda.is_available() else "cpu"
        local_rank, local_world_size = 0, 1
    names = [name.strip() for name in gpu_ids.split(",")]
    if len(names) == 1 and parse_device(names[0]).type == "cpu":
        return [parse_device(names[0])]
    if len(names) % local_world_size:
        raise UserError(
            f"--gpu_ids {gpu_ids}: {len(names)} devices cannot be shared equally by {local_world_size} "
            "processes on this machine: give a multiple, or another --nproc_per_node to torchrun"
        )
    share = len(names) // local_world_size
    devices = [parse_device(name) for name in names[local_rank * share : (local_rank + 1) * share]]
    if len({device.type for device in devices}) > 1:
        raise UserError(
            f"--gpu_ids {gpu_ids}: devices of different kinds cannot work together: give one kind"
        )
    return devices


def make_device_groups(
    devices: Sequence[torch.device], n_gpus_gen: int, batch_size: int
) -> tuple[DeviceGroup, ...]:
    """The groups; they share a batch.

    n_gpus_gen: slots that generate; -1 or all: every slot does both. One clip a step makes one group, whose slots share
    its frames; several clips make a group of every slot, which shares nothing.
    """
    slots = tuple(DeviceSlot(number, device) for number, device in enumerate(devices))
    if batch_size > 1:
        return tuple(DeviceGroup(slot, (slot,), (slot,)) for slot in slots[:batch_size])
    if n_gpus_gen in (-1, len(slots)):
        return (DeviceGroup(slots[0], slots, slots),)
    generators = slots[1 : 1 + n_gpus_gen]
    return (DeviceGroup(slots[0], generators, slots[1 + n_gpus_gen :] or slots[:1]),)


def describe_device_groups(groups: Sequence[DeviceGroup]) -> str:
    """Who does what, in words."""

    def listed(slots: Sequence[DeviceSlot]) -> str:
        return ", ".join(str(slot.device) for slot in slots)

    first = groups[0]
    if len(groups) > 1:
        return f"{listed([group.primary for group in groups])} share each batch"
    if first.generators == first.discriminators == (first.primary,):
        return str(first.primary.device)
    if first.generators == first.discriminators:
        return f"{listed(first.generators)} share each window's frames"
    return (
        f"{first.primary.device} holds the weights, {listed(first.generators)} generate a window's frames in turn, "
        f"{listed(first.discriminators)} discriminate"
    )
