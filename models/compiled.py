"""Networks as compiled programs (`--compile`): in synthesis a whole step, in training each network for itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.discriminators import MultiScaleDiscriminator
from models.fast.choice import asked_plainly
from models.generators import Frame
from models.labels import Condition
from models.rollout import History, Step, step

Made = tuple[Frame, tuple[Tensor, ...]]
Backend = str | Callable[..., Any]  # of torch.compile


@dataclass
class Compiler:
    """Compiles when a program is first called, and again for another kind of input. Where that fails, it says so once
    on stderr, and all of its programs are run plainly from then on."""

    backend: Backend = "inductor"
    failed: bool = False

    def run(self, program: Callable[..., Any], plain: Callable[..., Any], *inputs: Any) -> Any:
        """program(*inputs), or what it was compiled from."""
        if self.failed:
            return plain(*inputs)
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException  # takes a second

        try:
            return program(*inputs)
        except (TorchDynamoException, FailOnRecompileLimitHit) as fault:  # whatever the backend raises is among them
            self.failed = True
            reason = " ".join(str(fault).split("\n\n")[0].split())  # torch's advice for its own makers follows
            tqdm.write(f"warning: the networks run uncompiled: {reason[:200]}", file=sys.stderr)
            return plain(*inputs)


@dataclass
class CompiledStep(Compiler):
    """`models.rollout.step` as one program for each size of frames, on a GPU one CUDA graph. A first frame that is
    `raw` alone is always made plainly: one frame does not pay for a program of its own."""

    def __call__(self, networks: nn.ModuleList, conditions: Sequence[Condition], history: History, *,
                 raw_only: bool = False) -> Made:
        if raw_only:
            return step(networks, conditions, history, raw_only=True)
        program = _step_program(self.backend, history.pictures[0].device.type)
        return self.run(program, step, networks, conditions, history)


@cache
def _step_program(backend: Backend, device_type: str) -> Step:
    mode: dict[str, Any] = {"mode": "reduce-overhead"} if device_type == "cuda" else {}
    program = torch.compile(step, fullgraph=True, dynamic=False, backend=backend, **mode)

    def kept(*inputs: Any) -> Made:
        made, pictures = program(*inputs)
        return made.map(torch.clone), tuple(picture.clone() for picture in pictures)  # a graph's next run overwrites

    return kept


class CompiledNetwork(nn.Module):
    """Stands for a network where it works. Optimisers, files and copies on other devices know the network itself."""

    def __init__(self, network: nn.Module, compiler: Compiler) -> None:
        super().__init__()
        self.network, self.compiler = network, compiler
        self.program = _network_program(network, compiler.backend)

    def forward(self, *inputs: Any) -> Any:
        """The network's. What is asked for plainly may be derived twice, which no program can."""
        if asked_plainly():
            return self.network(*inputs)
        return self.compiler.run(self.program, self.network, *inputs)


class CompiledDiscriminator(CompiledNetwork):
    """As the losses of single pictures know it."""

    def beside(self, condition: Tensor) -> Tensor:
        """What pictures are judged with. Programs convolve it with each of them: only fast ways on a CPU do so once."""
        return condition


def compiled(network: nn.Module, compiler: Compiler) -> CompiledNetwork:
    kind = CompiledDiscriminator if isinstance(network, MultiScaleDiscriminator) else CompiledNetwork
    return kind(network, compiler)


def _network_program(network: nn.Module, backend: Backend) -> Callable[..., Any]:
    """For each size that it sees first, later for any. Without CUDA graphs, whose next run would overwrite what losses
    and later windows still need."""
    import torch._functorch.config as ways_back

    ways_back.donated_buffer = False  # two players' losses go back through one graph
    ways_back.force_non_lazy_backward_lowering = True  # with the way there, where `Compiler.run` can still turn back

    def forward(*inputs: Any) -> Any:
        return network(*inputs)

    forward.__code__ = forward.__code__.replace()  # torch limits programs, and learns sizes, by code: to each its own
    return torch.compile(forward, fullgraph=True, backend=backend)
