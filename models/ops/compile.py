"""Compilation of networks by torch.compile (`--compile`): in synthesis a frame, in training each network."""

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
from models.networks.labels import Condition
from models.networks.rollout import FrameGenerator, History, generate_frame
from models.ops.dispatch import is_using_reference_ops

FrameAndImages = tuple[GeneratorOutput, tuple[Tensor, ...]]
CompileBackend = str | Callable[..., Any]  # of torch.compile


@dataclass
class FallbackCompiler:
    """Runs compiled functions, and falls back to the original ones when compilation fails.

    A function is compiled when it is first called, and again for another kind of input. After the first failure, which
    is reported once on stderr, all functions of this compiler run uncompiled.
    """

    backend: CompileBackend = "inductor"
    has_failed: bool = False

    def run(
        self, compiled_fn: Callable[..., Any], fallback_fn: Callable[..., Any], *inputs: Any
    ) -> Any:
        """Return compiled_fn(*inputs), or fallback_fn(*inputs) where compilation fails."""
        if self.has_failed:
            return fallback_fn(*inputs)
        # imported here because it takes a second
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

        try:
            return compiled_fn(*inputs)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:  # backends' errors too
            self.has_failed = True
            first_paragraph = str(error).split("\n\n")[0]  # advice for torch's developers follows
            reason = " ".join(first_paragraph.split())
            tqdm.write(f"warning: the networks run uncompiled: {reason[:200]}", file=sys.stderr)
            return fallback_fn(*inputs)


@dataclass
class CompiledFrameGenerator(FallbackCompiler):
    """`models.networks.rollout.generate_frame`, compiled for each size of frames; on a GPU a CUDA graph.

    A first frame without warping runs uncompiled: compiling does not pay for one frame.
    """

    def __call__(
        self,
        netG: nn.ModuleList,
        conditions: Sequence[Condition],
        history: History,
        *,
        no_warp: bool = False,
    ) -> FrameAndImages:
        """Generate one frame, as `generate_frame`."""
        if no_warp:
            return generate_frame(netG, conditions, history, no_warp=True)
        compiled = _compile_generate_frame(self.backend, history.images[0].device.type)
        return self.run(compiled, generate_frame, netG, conditions, history)


@cache
def _compile_generate_frame(backend: CompileBackend, device_type: str) -> FrameGenerator:
    mode: dict[str, Any] = {"mode": "reduce-overhead"} if device_type == "cuda" else {}
    compiled = torch.compile(generate_frame, fullgraph=True, dynamic=False, backend=backend, **mode)

    def generate_and_clone(*inputs: Any) -> FrameAndImages:
        # the next run of a CUDA graph overwrites its outputs
        output, images = compiled(*inputs)
        return output.apply(torch.clone), tuple(image.clone() for image in images)

    return generate_and_clone


class CompiledNetwork(nn.Module):
    """Stands for a network in forward passes. Optimizers, files and replicas use the network itself."""

    def __init__(self, network: nn.Module, compiler: FallbackCompiler) -> None:
        super().__init__()
        self.network, self.compiler = network, compiler
        self.takes_sparse_conditions = getattr(network, "takes_sparse_conditions", False)
        self.compiled_forward = _compile_forward(network, compiler.backend)

    def forward(self, *inputs: Any) -> Any:
        """Run the network. With reference ops uncompiled: compiled functions are differentiable only once."""
        if is_using_reference_ops():
            return self.network(*inputs)
        return self.compiler.run(self.compiled_forward, self.network, *inputs)


class CompiledDiscriminator(CompiledNetwork):
    """A compiled discriminator, with the interface that the losses of single images use."""

    def precompute_condition(self, condition: Tensor) -> Tensor:
        """Return the condition: only optimized ops on a CPU convolve it once for several images."""
        return condition


def compile_network(network: nn.Module, compiler: FallbackCompiler) -> CompiledNetwork:
    """Wrap a network so that its forward passes are compiled."""
    if isinstance(network, MultiScaleDiscriminator):
        return CompiledDiscriminator(network, compiler)
    return CompiledNetwork(network, compiler)


def _compile_forward(network: nn.Module, backend: CompileBackend) -> Callable[..., Any]:
    """Compile for the first size of inputs, then for any size.

    Without CUDA graphs, whose next run would overwrite what losses and later windows still need.
    """
    import torch._functorch.config as functorch_config

    # the losses of two optimizers are backpropagated through one graph
    functorch_config.donated_buffer = False
    # compile the backward pass with the forward pass, when `FallbackCompiler.run` can still fall back
    functorch_config.force_non_lazy_backward_lowering = True

    def forward(*inputs: Any) -> Any:
        return network(*inputs)

    # torch counts recompilations and learns sizes by code object: each network needs its own
    forward.__code__ = forward.__code__.replace()
    return torch.compile(forward, fullgraph=True, backend=backend)
