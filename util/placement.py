"""The only place that knows devices."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from util.errors import UserError


@dataclass(frozen=True)
class Placement:
    """device: where the networks live. n_gpus_gen: generator GPUs that share a window's frames (SPEC 2: 1 on a CPU).
    reason: the choice in a sentence, for the log."""

    device: torch.device
    reason: str
    n_gpus_gen: int = 1

    @property
    def pin_memory(self) -> bool:
        return self.device.type == "cuda"


def _device(name: str) -> torch.device:
    if name in ("-1", "cpu"):
        return torch.device("cpu")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("--gpu_ids mps: no Apple GPU is available here: give --gpu_ids -1 for the CPU")
        return torch.device("mps")
    if not name.isdigit():
        raise UserError(f"--gpu_ids {name}: expected numbers of GPUs with commas between, -1, cpu or mps")
    if int(name) >= torch.cuda.device_count():
        raise UserError(f"--gpu_ids {name}: this machine has {torch.cuda.device_count()} CUDA GPUs, numbered from 0: "
                        "give one that is there, or --gpu_ids -1 for the CPU")
    return torch.device("cuda", int(name))


def place(gpu_ids: str | None) -> Placement:
    """gpu_ids: as given on the command line, None when it was not. UserError for devices that are not here."""
    if gpu_ids is None:
        if torch.cuda.is_available():
            return Placement(torch.device("cuda", 0), "device: cuda:0")
        return Placement(torch.device("cpu"), "device: cpu (no CUDA GPU found; --gpu_ids was not given)")
    names = [name.strip() for name in gpu_ids.split(",")]
    if len(names) > 1:
        raise UserError(f"--gpu_ids {gpu_ids}: this version runs on one device, {len(names)} were given: give one of "
                        "them; what several would do is planned, see the README")
    device = _device(names[0])
    return Placement(device, f"device: {device}")
