"""Devices and groups from `--gpu_ids`, what is refused, and what is said of it."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

from options.oom_hints import list_oom_hints
from tests.tiny import tiny_networks, tiny_options
from util.distributed import DeviceConfig, DeviceGroup, DeviceSlot, setup_devices
from util.distributed.amp import Precision
from util.distributed.devices import (
    describe_device_groups,
    make_device_groups,
    select_local_devices,
)
from util.distributed.memory import explain_out_of_memory, measure_peak_memory
from util.distributed.replicas import split_evenly
from util.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def eight_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine that has them; nothing is computed on them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def numbers(devices: list[torch.device]) -> list[int | None]:
    return [device.index for device in devices]


# which devices


def test_cpu_is_used_without_gpus() -> None:
    if not torch.cuda.is_available():
        assert (
            select_local_devices(None)
            == select_local_devices("-1")
            == select_local_devices("cpu")
            == [CPU]
        )
        assert "no CUDA GPU found; --gpu_ids was not given" in setup_devices(DeviceConfig()).summary
    assert "no CUDA GPU" not in setup_devices(DeviceConfig("cpu")).summary


def test_gpu_ids_may_repeat_a_device() -> None:
    assert select_local_devices("cpu, cpu,cpu") == [CPU] * 3


@pytest.mark.usefixtures("eight_gpus")
def test_each_local_rank_has_its_own_devices() -> None:
    """As torchrun --nproc_per_node 2 starts them."""
    assert [numbers(select_local_devices("4,5,6,7", rank, 2)) for rank in (0, 1)] == [
        [4, 5],
        [6, 7],
    ]
    assert [numbers(select_local_devices(None, rank, 2)) for rank in (0, 1)] == [[0], [1]]
    assert numbers(select_local_devices(None)) == [0]
    assert select_local_devices("cpu", 1, 2) == [CPU]
    with pytest.raises(
        UserError, match=r"--gpu_ids 0,1,2: 3 devices cannot be shared equally by 2 processes"
    ):
        select_local_devices("0,1,2", 0, 2)


@pytest.mark.usefixtures("eight_gpus")
@pytest.mark.parametrize(
    ("gpus", "words"),
    [
        ("8", "--gpu_ids 8: this machine has 8 CUDA GPUs"),
        ("one", "--gpu_ids one: expected numbers"),
        ("", "--gpu_ids : expected numbers"),
        ("0,cpu", "--gpu_ids 0,cpu: devices of different kinds"),
    ],
)
def test_unavailable_devices_are_refused(gpus: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        select_local_devices(gpus)


def test_sync_batch_norm_is_used_only_on_gpus() -> None:
    with pytest.raises(
        UserError, match=r"--sync_bn.*1 process\(es\) on cpu: start with torchrun on GPUs"
    ):
        setup_devices(DeviceConfig("cpu", sync_bn=True))


# groups of them


def slots(*given: int) -> tuple[DeviceSlot, ...]:
    return tuple(DeviceSlot(number, CPU) for number in given)


@pytest.mark.parametrize(
    ("count", "generate", "groups", "words"),
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
    count: int, generate: int, groups: DeviceGroup, words: str
) -> None:
    """The published scheme: 8 devices, 6 generate: the first holds the weights, the last discriminates."""
    found = make_device_groups([CPU] * count, generate, batch_size=1)
    assert found == (groups,) and describe_device_groups(found) == words


@pytest.mark.parametrize(
    ("devices", "batch", "groups"), [(2, 3, 2), (3, 2, 2), (1, 4, 1), (4, 4, 4)]
)
def test_each_device_with_a_clip_forms_a_group(devices: int, batch: int, groups: int) -> None:
    found = make_device_groups([CPU] * devices, -1, batch)
    assert found == tuple(DeviceGroup(slot, (slot,), (slot,)) for slot in slots(*range(groups)))
    assert describe_device_groups(found) == (
        "cpu" if groups == 1 else ", ".join(["cpu"] * groups) + " share each batch"
    )


@pytest.mark.parametrize(
    ("clips", "devices", "runs"),
    [
        (3, 2, [(0, 1), (1, 3)]),
        (7, 3, [(0, 2), (2, 4), (4, 7)]),
        (2, 5, [(0, 1), (1, 2)]),
        (0, 2, []),
    ],
)
def test_uneven_batches_are_sharded_without_padding(clips: int, devices: int, runs: list) -> None:
    assert split_evenly(clips, devices) == runs


# layouts and memory


@pytest.mark.parametrize(
    ("device", "amp", "layout"),
    [
        ("cpu", "bf16", torch.preserve_format),
        ("cuda", "off", torch.preserve_format),
        ("cuda", "bf16", torch.channels_last),
        ("cuda", "fp16", torch.channels_last),
    ],
)
def test_channels_last_is_used_in_half_precision_on_gpus(
    device: str, amp: str, layout: torch.memory_format
) -> None:
    assert Precision(amp, device).memory_format == layout


def test_channels_last_does_not_change_the_network() -> None:
    networks = tiny_networks(tiny_options("--label_nc 5 --norm instance"))
    seen = torch.randn(1, 8, 32, 32)
    before = networks.netD(seen)[0][-1]
    weight = networks.to(CPU, torch.channels_last).netD.get_parameter("scale0_layer1.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    torch.testing.assert_close(networks.netD(seen)[0][-1], before, rtol=1e-4, atol=1e-4)


def test_out_of_memory_error_names_flags_with_current_values() -> None:
    options = tiny_options(
        "--label_nc 5 --batchSize 4 --max_frames_per_gpu 6 --loadSize 2048 --gpu_ids cpu"
    )
    with pytest.raises(UserError) as told, explain_out_of_memory(list_oom_hints(options)):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of"
        )
    line = str(told.value)
    assert line.startswith(
        "memory ran out (CUDA out of memory): in order of value, --batchSize 4 to 1; "
        "--max_frames_per_gpu 6 to 1 (frames of a window); --amp bf16; --checkpoint_activations"
    )
    assert (
        "--loadSize 2048 lower" in line
        and line.endswith("--dry_run measures a change")
        and "\n" not in line
    )


def test_oom_hints_omit_flags_already_set() -> None:
    done = tiny_options(
        "--label_nc 5 --amp bf16 --checkpoint_activations --num_D 1 --ngf 16 --gpu_ids cpu,cpu"
    )
    assert list_oom_hints(done) == ["--loadSize 512 lower (memory goes with its square)"]


def test_cpu_out_of_memory_is_recognized_and_other_errors_pass() -> None:
    with pytest.raises(UserError, match="memory ran out"), explain_out_of_memory([]):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="shape"), explain_out_of_memory([]):
        torch.zeros(3).reshape(2)


def test_peak_memory_is_of_this_process() -> None:
    before = measure_peak_memory([CPU, CPU])
    kept = torch.ones(2**26)  # 256 MiB
    assert (
        list(before) == ["cpu"]
        and measure_peak_memory([CPU])["cpu"] >= kept.numel() * 4 / 2**30 > 0
    )
    assert measure_peak_memory([CPU])["cpu"] >= before["cpu"]


def test_gpu_peak_memory_is_torch_max_memory_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch, "cuda", SimpleNamespace(max_memory_allocated=lambda device: 3 * 2**30)
    )
    assert measure_peak_memory([torch.device("cuda", 1)]) == {"cuda:1": 3.0}
