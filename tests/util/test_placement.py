"""Devices and groups from `--gpu_ids`, what is refused, and what is said of it."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

from options.advice import memory_knobs
from tests.tiny import tiny_networks, tiny_options
from util.errors import UserError
from util.placement import Group, PlacementConfig, Slot, place
from util.placement.devices import arrange, described, own_devices
from util.placement.memory import explaining_exhaustion, peak_memory
from util.placement.precision import Precision
from util.placement.replicas import equal_runs

CPU = torch.device("cpu")


@pytest.fixture
def eight_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine that has them; nothing is computed on them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def numbers(devices: list[torch.device]) -> list[int | None]:
    return [device.index for device in devices]


# which devices


def test_without_gpus_the_cpu_does_it() -> None:
    if not torch.cuda.is_available():
        assert own_devices(None) == own_devices("-1") == own_devices("cpu") == [CPU]
        assert "no CUDA GPU found; --gpu_ids was not given" in place(PlacementConfig()).reason
    assert "no CUDA GPU" not in place(PlacementConfig("cpu")).reason


def test_a_list_may_repeat_a_device() -> None:
    assert own_devices("cpu, cpu,cpu") == [CPU] * 3


@pytest.mark.usefixtures("eight_gpus")
def test_each_process_of_a_machine_has_its_own_run_of_the_list() -> None:
    """As torchrun --nproc_per_node 2 starts them."""
    assert [numbers(own_devices("4,5,6,7", rank, 2)) for rank in (0, 1)] == [[4, 5], [6, 7]]
    assert [numbers(own_devices(None, rank, 2)) for rank in (0, 1)] == [[0], [1]]
    assert numbers(own_devices(None)) == [0]
    assert own_devices("cpu", 1, 2) == [CPU]
    with pytest.raises(UserError, match=r"--gpu_ids 0,1,2: 3 devices cannot be shared equally by 2 processes"):
        own_devices("0,1,2", 0, 2)


@pytest.mark.usefixtures("eight_gpus")
@pytest.mark.parametrize(("gpus", "words"), [
    ("8", "--gpu_ids 8: this machine has 8 CUDA GPUs"), ("one", "--gpu_ids one: expected numbers"),
    ("", "--gpu_ids : expected numbers"), ("0,cpu", "--gpu_ids 0,cpu: devices of different kinds")])
def test_devices_that_are_not_here_are_refused(gpus: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        own_devices(gpus)


def test_batch_norms_are_shared_on_gpus_alone() -> None:
    with pytest.raises(UserError, match=r"--sync_bn.*1 process\(es\) on cpu: start with torchrun on GPUs"):
        place(PlacementConfig("cpu", sync_bn=True))


# groups of them


def slots(*given: int) -> tuple[Slot, ...]:
    return tuple(Slot(number, CPU) for number in given)


@pytest.mark.parametrize(("count", "generate", "groups", "words"), [
    (1, -1, Group(*slots(0), slots(0), slots(0)), "cpu"),
    (3, -1, Group(*slots(0), slots(0, 1, 2), slots(0, 1, 2)), "cpu, cpu, cpu share each window's frames"),
    (3, 3, Group(*slots(0), slots(0, 1, 2), slots(0, 1, 2)), "cpu, cpu, cpu share each window's frames"),
    (8, 6, Group(*slots(0), slots(*range(1, 7)), slots(7)), "cpu holds the weights, cpu, cpu, cpu, cpu, cpu, cpu "
     "generate a window's frames in turn, cpu discriminate"),
    (4, 1, Group(*slots(0), slots(1), slots(2, 3)), "cpu holds the weights, cpu generate a window's frames in turn, "
     "cpu, cpu discriminate"),
    (2, 1, Group(*slots(0), slots(1), slots(0)), "cpu holds the weights, cpu generate a window's frames in turn, cpu "
     "discriminate")])
def test_one_clip_makes_one_group(count: int, generate: int, groups: Group, words: str) -> None:
    """The published scheme: 8 devices, 6 generate: the first holds the weights, the last discriminates."""
    found = arrange([CPU] * count, generate, batch_size=1)
    assert found == (groups,) and described(found) == words


@pytest.mark.parametrize(("devices", "batch", "groups"), [(2, 3, 2), (3, 2, 2), (1, 4, 1), (4, 4, 4)])
def test_a_batch_makes_a_group_of_each_device_that_has_a_clip(devices: int, batch: int, groups: int) -> None:
    found = arrange([CPU] * devices, -1, batch)
    assert found == tuple(Group(slot, (slot,), (slot,)) for slot in slots(*range(groups)))
    assert described(found) == ("cpu" if groups == 1 else ", ".join(["cpu"] * groups) + " share each batch")


@pytest.mark.parametrize(("clips", "devices", "runs"), [
    (3, 2, [(0, 1), (1, 3)]), (7, 3, [(0, 2), (2, 4), (4, 7)]), (2, 5, [(0, 1), (1, 2)]), (0, 2, [])])
def test_uneven_batches_are_cut_without_gaps_or_dummies(clips: int, devices: int, runs: list) -> None:
    assert equal_runs(clips, devices) == runs


# layouts and memory


@pytest.mark.parametrize(("device", "amp", "layout"), [
    ("cpu", "bf16", torch.preserve_format), ("cuda", "off", torch.preserve_format),
    ("cuda", "bf16", torch.channels_last), ("cuda", "fp16", torch.channels_last)])
def test_channels_come_last_in_half_precision_on_gpus(device: str, amp: str, layout: torch.memory_format) -> None:
    assert Precision(amp, device).layout == layout


def test_another_layout_is_the_same_network() -> None:
    networks = tiny_networks(tiny_options("--label_nc 5 --norm instance"))
    seen = torch.randn(1, 8, 32, 32)
    before = networks.image(seen)[0][-1]
    weight = networks.to(CPU, torch.channels_last).image.get_parameter("scale0_layer1.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    torch.testing.assert_close(networks.image(seen)[0][-1], before, rtol=1e-4, atol=1e-4)


def test_out_of_memory_names_what_to_turn_with_the_runs_numbers() -> None:
    options = tiny_options("--label_nc 5 --batchSize 4 --max_frames_per_gpu 6 --loadSize 2048 --gpu_ids cpu")
    with (pytest.raises(UserError) as told, explaining_exhaustion(memory_knobs(options))):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of")
    line = str(told.value)
    assert line.startswith("memory ran out (CUDA out of memory): in order of value, --batchSize 4 to 1; "
                           "--max_frames_per_gpu 6 to 1 (frames of a window); --amp bf16; --checkpoint_activations")
    assert "--loadSize 2048 lower" in line and line.endswith("--dry_run measures a change") and "\n" not in line


def test_what_is_turned_already_is_not_advised() -> None:
    done = tiny_options("--label_nc 5 --amp bf16 --checkpoint_activations --num_D 1 --ngf 16 --gpu_ids cpu,cpu")
    assert memory_knobs(done) == ["--loadSize 512 lower (memory goes with its square)"]


def test_torchs_own_message_for_cpus_is_understood_and_other_faults_pass() -> None:
    with pytest.raises(UserError, match="memory ran out"), explaining_exhaustion([]):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="shape"), explaining_exhaustion([]):
        torch.zeros(3).reshape(2)


def test_peak_memory_is_this_processs() -> None:
    before = peak_memory([CPU, CPU])
    kept = torch.ones(2**26)  # 256 MiB
    assert list(before) == ["cpu"] and peak_memory([CPU])["cpu"] >= kept.numel() * 4 / 2**30 > 0
    assert peak_memory([CPU])["cpu"] >= before["cpu"]


def test_gpus_tell_what_torch_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(max_memory_allocated=lambda device: 3 * 2**30))
    assert peak_memory([torch.device("cuda", 1)]) == {"cuda:1": 3.0}
