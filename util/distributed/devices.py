"""Selection of devices from `--gpu_ids` and their partition into groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from util.errors import UserError


@dataclass(frozen=True)
class DeviceSlot:
    """One entry of `--gpu_ids`.

    Attributes:
        index: Position in the list. Slot 0 holds the primary weights and the optimizer states.
        device: Device of the slot. Several slots may name the same device; each slot has a replica
            of the weights.
    """

    index: int
    device: torch.device


@dataclass(frozen=True)
class DeviceGroup:
    """Slots that process the same clips.

    Attributes:
        primary: Receives the clips and gathers the generated frames.
        generators: Generate consecutive runs of a window's frames, one after the other.
        discriminators: Split a window's frames and temporal groups between them.
    """

    primary: DeviceSlot
    generators: tuple[DeviceSlot, ...]
    discriminators: tuple[DeviceSlot, ...]


def parse_device(name: str) -> torch.device:
    """Return the device of one entry of `--gpu_ids`: a GPU index, -1, cpu or mps.

    Raises:
        UserError: The device is not available or the entry is not one of these.
    """
    if name in ("-1", "cpu"):
        return torch.device("cpu")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(
                "--gpu_ids mps: no Apple GPU is available: use --gpu_ids -1 for the CPU"
            )
        return torch.device("mps")
    if not name.isdigit():
        raise UserError(
            f"--gpu_ids {name}: expected GPU indices separated by commas, -1, cpu or mps"
        )
    if int(name) >= torch.cuda.device_count():
        raise UserError(
            f"--gpu_ids {name}: this machine has {torch.cuda.device_count()} CUDA GPUs, numbered "
            "from 0: use one of these, or --gpu_ids -1 for the CPU"
        )
    return torch.device("cuda", int(name))


def select_local_devices(
    gpu_ids: str | None, local_rank: int = 0, local_world_size: int = 1
) -> list[torch.device]:
    """Return the devices of one process of this machine.

    Each process gets an equal run of the list. If the list is the CPU alone, all processes use it.

    Args:
        gpu_ids: Value of `--gpu_ids`. None: one GPU per process, or the CPU without GPUs.
        local_rank: Rank of the process on this machine.
        local_world_size: Number of processes on this machine.

    Raises:
        UserError: A device is not available, the list cannot be divided equally, or it mixes
            device types.
    """
    if gpu_ids is None:
        gpu_ids = str(local_rank) if torch.cuda.is_available() else "cpu"
        local_rank, local_world_size = 0, 1
    names = [name.strip() for name in gpu_ids.split(",")]
    if len(names) == 1 and parse_device(names[0]).type == "cpu":
        return [parse_device(names[0])]
    if len(names) % local_world_size:
        raise UserError(
            f"--gpu_ids {gpu_ids}: {len(names)} devices cannot be divided equally between "
            f"{local_world_size} processes on this machine: use a multiple, or change torchrun's "
            "--nproc_per_node"
        )
    n_devices = len(names) // local_world_size
    local_names = names[local_rank * n_devices : (local_rank + 1) * n_devices]
    devices = [parse_device(name) for name in local_names]
    if len({device.type for device in devices}) > 1:
        raise UserError(f"--gpu_ids {gpu_ids}: mixes device types: use devices of one type")
    return devices


def make_device_groups(
    devices: Sequence[torch.device], n_gpus_gen: int, batch_size: int
) -> tuple[DeviceGroup, ...]:
    """Partition the devices into groups, between which each batch is split.

    With several clips per batch each slot forms a group (at most one group per clip). With one clip
    all slots form one group and split the frames of its windows.

    Args:
        devices: Devices of this process, in the order of `--gpu_ids`.
        n_gpus_gen: Number of slots that generate frames when `batch_size` is 1; the remaining
            slots discriminate. -1 or all: every slot does both.
        batch_size: Clips per step of this process.
    """
    slots = tuple(DeviceSlot(index, device) for index, device in enumerate(devices))
    if batch_size > 1:
        return tuple(DeviceGroup(slot, (slot,), (slot,)) for slot in slots[:batch_size])
    if n_gpus_gen in (-1, len(slots)):
        return (DeviceGroup(slots[0], slots, slots),)
    # As published: slot 0 does not generate, and discriminates only if no other slot is left.
    generators = slots[1 : 1 + n_gpus_gen]
    discriminators = slots[1 + n_gpus_gen :] or slots[:1]
    return (DeviceGroup(slots[0], generators, discriminators),)


def describe_device_groups(groups: Sequence[DeviceGroup]) -> str:
    """Return what each device does, in words."""

    def join_devices(slots: Sequence[DeviceSlot]) -> str:
        return ", ".join(str(slot.device) for slot in slots)

    if len(groups) > 1:
        return f"{join_devices([group.primary for group in groups])} share each batch"
    group = groups[0]
    if group.generators == group.discriminators == (group.primary,):
        return str(group.primary.device)
    if group.generators == group.discriminators:
        return f"{join_devices(group.generators)} share each window's frames"
    return (
        f"{group.primary.device} holds the weights, {join_devices(group.generators)} generate a "
        f"window's frames in turn, {join_devices(group.discriminators)} discriminate"
    )
