"""`models.rollout.step` as one compiled program, on a GPU one CUDA graph (`--compile`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.generators import Frame
from models.labels import Condition
from models.rollout import History, Step, step

Made = tuple[Frame, tuple[Tensor, ...]]
Backend = str | Callable[..., Any]  # of torch.compile


@dataclass
class CompiledStep:
    """Compiles at the first frame of each size. Where that fails, it says so once on stderr and goes on plainly. A
    first frame that is `raw` alone is always made plainly: one frame does not pay for a program of its own."""

    backend: Backend = "inductor"
    failed: bool = False

    def __call__(self, networks: nn.ModuleList, conditions: Sequence[Condition], history: History, *,
                 raw_only: bool = False) -> Made:
        if raw_only or self.failed:
            return step(networks, conditions, history, raw_only=raw_only)
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException  # takes a second

        try:
            made, pictures = _program(self.backend, history.pictures[0].device.type)(networks, conditions, history)
        except (TorchDynamoException, FailOnRecompileLimitHit) as fault:  # whatever the backend raises is among them
            self.failed = True
            reason = " ".join(str(fault).split("\n\n")[0].split())  # torch's advice for its own makers follows
            tqdm.write(f"warning: the networks run uncompiled: {reason[:200]}", file=sys.stderr)
            return step(networks, conditions, history)
        return made.map(torch.clone), tuple(picture.clone() for picture in pictures)  # a graph's next run overwrites


@cache
def _program(backend: Backend, device_type: str) -> Step:
    mode: dict[str, Any] = {"mode": "reduce-overhead"} if device_type == "cuda" else {}
    return torch.compile(step, fullgraph=True, dynamic=False, backend=backend, **mode)
