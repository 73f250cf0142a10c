"""Tests of util/distributed/memory.py and of the hints of its error."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from options.oom_hints import list_oom_hints
from tests.tiny import tiny_options
from util.distributed.memory import explain_out_of_memory, measure_peak_memory
from util.errors import UserError

CPU = torch.device("cpu")


def test_out_of_memory_error_names_flags_with_current_values() -> None:
    options = tiny_options(
        "--label_nc 5 --batchSize 4 --max_frames_per_gpu 6 --loadSize 2048 --gpu_ids cpu"
    )
    with pytest.raises(UserError) as error, explain_out_of_memory(list_oom_hints(options)):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of"
        )
    message = str(error.value)
    assert message.startswith(
        "out of memory (CUDA out of memory): try in this order --batchSize 4 to 1; "
        "--max_frames_per_gpu 6 to 1 (frames of a window); --amp bf16; --checkpoint_activations"
    )
    assert "--loadSize 2048 lower" in message
    assert message.endswith("--dry_run measures the effect")
    assert "\n" not in message


def test_oom_hints_omit_flags_already_set() -> None:
    options = tiny_options(
        "--label_nc 5 --amp bf16 --checkpoint_activations --num_D 1 --ngf 16 --gpu_ids cpu,cpu"
    )
    assert list_oom_hints(options) == ["--loadSize 512 lower (memory grows with its square)"]


def test_cpu_out_of_memory_is_recognized_and_other_errors_pass() -> None:
    with pytest.raises(UserError, match="^out of memory"), explain_out_of_memory([]):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="shape"), explain_out_of_memory([]):
        torch.zeros(3).reshape(2)


def test_peak_memory_is_of_this_process() -> None:
    before = measure_peak_memory([CPU, CPU])
    assert list(before) == ["cpu"]
    tensor = torch.ones(2**26)  # 256 MiB
    after = measure_peak_memory([CPU])["cpu"]
    assert after >= tensor.numel() * 4 / 2**30
    assert after >= before["cpu"]


def test_gpu_peak_memory_is_torch_max_memory_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(max_memory_allocated=lambda device: 3 * 2**30)
    monkeypatch.setattr(torch, "cuda", cuda)
    assert measure_peak_memory([torch.device("cuda", 1)]) == {"cuda:1": 3.0}
