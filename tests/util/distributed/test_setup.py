"""Tests of the selection of devices from `--gpu_ids`, their groups and the precision."""

from __future__ import annotations

import re

import pytest
import torch

from tests.tiny import tiny_networks, tiny_options
from util.distributed import DeviceConfig, DeviceGroup, DeviceSlot, setup_devices
from util.distributed.amp import Precision
from util.distributed.devices import (
    describe_device_groups,
    make_device_groups,
    select_local_devices,
)
from util.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def eight_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torch report eight GPUs; nothing is computed on them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def device_indices(devices: list[torch.device]) -> list[int | None]:
    return [device.index for device in devices]


# Selection of devices


def test_cpu_is_used_without_gpus() -> None:
    if not torch.cuda.is_available():
        for gpu_ids in (None, "-1", "cpu"):
            assert select_local_devices(gpu_ids) == [CPU]
        assert "no CUDA GPU found; --gpu_ids was not given" in setup_devices(DeviceConfig()).summary
    assert "no CUDA GPU" not in setup_devices(DeviceConfig("cpu")).summary


def test_gpu_ids_may_repeat_a_device() -> None:
    assert select_local_devices("cpu, cpu,cpu") == [CPU] * 3


@pytest.mark.usefixtures("eight_gpus")
def test_each_local_rank_has_its_own_devices() -> None:
    """Devices of each process under torchrun --nproc_per_node 2."""
    for rank, indices in ((0, [4, 5]), (1, [6, 7])):
        assert device_indices(select_local_devices("4,5,6,7", rank, 2)) == indices
        assert device_indices(select_local_devices(None, rank, 2)) == [rank]
    assert device_indices(select_local_devices(None)) == [0]
    assert select_local_devices("cpu", 1, 2) == [CPU]
    message = r"--gpu_ids 0,1,2: 3 devices cannot be divided equally between 2 processes"
    with pytest.raises(UserError, match=message):
        select_local_devices("0,1,2", 0, 2)


@pytest.mark.usefixtures("eight_gpus")
@pytest.mark.parametrize(
    ("gpu_ids", "message"),
    [
        ("8", "--gpu_ids 8: this machine has 8 CUDA GPUs"),
        ("one", "--gpu_ids one: expected GPU indices"),
        ("", "--gpu_ids : expected GPU indices"),
        ("0,cpu", "--gpu_ids 0,cpu: mixes device types"),
    ],
)
def test_unavailable_devices_are_refused(gpu_ids: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        select_local_devices(gpu_ids)


def test_sync_batch_norm_is_used_only_on_gpus() -> None:
    message = r"--sync_bn.*1 process\(es\) on cpu: start with torchrun on GPUs"
    with pytest.raises(UserError, match=message):
        setup_devices(DeviceConfig("cpu", sync_bn=True))


# Device groups


def slots(*indices: int) -> tuple[DeviceSlot, ...]:
    return tuple(DeviceSlot(index, CPU) for index in indices)


@pytest.mark.parametrize(
    ("n_devices", "n_gpus_gen", "group", "description"),
    [
        (1, -1, DeviceGroup(*slots(0), slots(0), slots(0)), "cpu"),
        (
            3,
            -1,
            DeviceGroup(*slots(0), slots(0, 1, 2), slots(0, 1, 2)),
            "cpu, cpu, cpu share each window's frames",
        ),
        (
            3,
            3,
            DeviceGroup(*slots(0), slots(0, 1, 2), slots(0, 1, 2)),
            "cpu, cpu, cpu share each window's frames",
        ),
        (
            8,
            6,
            DeviceGroup(*slots(0), slots(*range(1, 7)), slots(7)),
            "cpu holds the weights, cpu, cpu, cpu, cpu, cpu, cpu "
            "generate a window's frames in turn, cpu discriminate",
        ),
        (
            4,
            1,
            DeviceGroup(*slots(0), slots(1), slots(2, 3)),
            "cpu holds the weights, cpu generate a window's frames in turn, cpu, cpu discriminate",
        ),
        (
            2,
            1,
            DeviceGroup(*slots(0), slots(1), slots(0)),
            "cpu holds the weights, cpu generate a window's frames in turn, cpu discriminate",
        ),
    ],
)
def test_one_clip_uses_one_device_group(
    n_devices: int, n_gpus_gen: int, group: DeviceGroup, description: str
) -> None:
    """As published: of 8 devices, 6 generate, the first holds the weights, the last discriminates."""
    groups = make_device_groups([CPU] * n_devices, n_gpus_gen, batch_size=1)
    assert groups == (group,)
    assert describe_device_groups(groups) == description


@pytest.mark.parametrize(
    ("n_devices", "batch_size", "n_groups"), [(2, 3, 2), (3, 2, 2), (1, 4, 1), (4, 4, 4)]
)
def test_each_device_with_a_clip_forms_a_group(
    n_devices: int, batch_size: int, n_groups: int
) -> None:
    groups = make_device_groups([CPU] * n_devices, -1, batch_size)
    expected = [DeviceGroup(slot, (slot,), (slot,)) for slot in slots(*range(n_groups))]
    assert groups == tuple(expected)
    names = ", ".join(["cpu"] * n_groups)
    description = "cpu" if n_groups == 1 else f"{names} share each batch"
    assert describe_device_groups(groups) == description


# Memory format


@pytest.mark.parametrize(
    ("device_type", "amp", "memory_format"),
    [
        ("cpu", "bf16", torch.preserve_format),
        ("cuda", "off", torch.preserve_format),
        ("cuda", "bf16", torch.channels_last),
        ("cuda", "fp16", torch.channels_last),
    ],
)
def test_channels_last_is_used_in_half_precision_on_gpus(
    device_type: str, amp: str, memory_format: torch.memory_format
) -> None:
    assert Precision(amp, device_type).memory_format == memory_format


def test_channels_last_does_not_change_the_network() -> None:
    networks = tiny_networks(tiny_options("--label_nc 5 --norm instance"))
    x = torch.randn(1, 8, 32, 32)
    expected = networks.netD(x)[0][-1]
    weight = networks.to(CPU, torch.channels_last).netD.get_parameter("scale0_layer1.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    torch.testing.assert_close(networks.netD(x)[0][-1], expected, rtol=1e-4, atol=1e-4)
