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

from models.networks.discriminators import MultiScaleDiscriminator
from models.networks.generators import GeneratorOutput
from models.networks.rollout import FrameGenerator, History, generate_frame
from models.networks.sparse_labels import Condition
from models.ops.dispatch import is_using_reference_ops

FrameAndImages = tuple[GeneratorOutput, tuple[Tensor, ...]]
CompileBackend = str | Callable[..., Any]  # of torch.compile


@dataclass
class FallbackCompiler:
    """Compiles when a program is first called, and again for another kind of input. Where that fails, it says so once
    on stderr, and all of its programs are run plainly from then on."""

    backend: CompileBackend = "inductor"
    has_failed: bool = False

    def run(
        self, compiled_fn: Callable[..., Any], fallback_fn: Callable[..., Any], *inputs: Any
    ) -> Any:
        """program(*inputs), or what it was compiled from."""
        if self.has_failed:
            return fallback_fn(*inputs)
        from torch._dynamo.exc import (
            FailOnRecompileLimitHit,
            TorchDynamoException,
        )  # takes a second

        try:
            return compiled_fn(*inputs)
        except (
            TorchDynamoException,
            FailOnRecompileLimitHit,
        ) as fault:  # whatever the backend raises is among them
            self.has_failed = True
            reason = " ".join(
                str(fault).split("\n\n")[0].split()
            )  # torch's advice for its own makers follows
            tqdm.write(f"warning: the networks run uncompiled: {reason[:200]}", file=sys.stderr)
            return fallback_fn(*inputs)


@dataclass
class CompiledFrameGenerator(FallbackCompiler):
    """`models.networks.rollout.generate_frame` as one program for each size of frames, on a GPU one CUDA graph. A first frame that is
    `raw` alone is always made plainly: one frame does not pay for a program of its own."""

    def __call__(
        self,
        netG: nn.ModuleList,
        conditions: Sequence[Condition],
        history: History,
        *,
        no_warp: bool = False,
    ) -> FrameAndImages:
        if no_warp:
            return generate_frame(netG, conditions, history, no_warp=True)
        program = _compile_generate_frame(self.backend, history.images[0].device.type)
        return self.run(program, generate_frame, netG, conditions, history)


@cache
def _compile_generate_frame(backend: CompileBackend, device_type: str) -> FrameGenerator:
    mode: dict[str, Any] = {"mode": "reduce-overhead"} if device_type == "cuda" else {}
    program = torch.compile(generate_frame, fullgraph=True, dynamic=False, backend=backend, **mode)

    def kept(*inputs: Any) -> FrameAndImages:
        made, images = program(*inputs)
        return made.apply(torch.clone), tuple(
            image.clone() for image in images
        )  # a graph's next run overwrites

    return kept


class CompiledNetwork(nn.Module):
    """Stands for a network where it works. Optimisers, files and copies on other devices know the network itself."""

    def __init__(self, network: nn.Module, compiler: FallbackCompiler) -> None:
        super().__init__()
        self.network, self.compiler = network, compiler
        self.compiled_forward = _compile_forward(network, compiler.backend)

    def forward(self, *inputs: Any) -> Any:
        """The network's. What is asked for plainly may be derived twice, which no program can."""
        if is_using_reference_ops():
            return self.network(*inputs)
        return self.compiler.run(self.compiled_forward, self.network, *inputs)


class CompiledDiscriminator(CompiledNetwork):
    """As the losses of single images know it."""

    def precompute_condition(self, condition: Tensor) -> Tensor:
        """What images are judged with. Programs convolve it with each of them: only fast ways on a CPU do so once."""
        return condition


def compile_network(network: nn.Module, compiler: FallbackCompiler) -> CompiledNetwork:
    kind = (
        CompiledDiscriminator if isinstance(network, MultiScaleDiscriminator) else CompiledNetwork
    )
    return kind(network, compiler)


def _compile_forward(network: nn.Module, backend: CompileBackend) -> Callable[..., Any]:
    """For each size that it sees first, later for any. Without CUDA graphs, whose next run would overwrite what losses
    and later windows still need."""
    import torch._functorch.config as ways_back

    ways_back.donated_buffer = False  # two players' losses go back through one graph
    ways_back.force_non_lazy_backward_lowering = (
        True  # with the way there, where `Compiler.run` can still turn back
    )

    def forward(*inputs: Any) -> Any:
        return network(*inputs)

    forward.__code__ = (
        forward.__code__.replace()
    )  # torch limits programs, and learns sizes, by code: to each its own
    return torch.compile(forward, fullgraph=True, backend=backend)
