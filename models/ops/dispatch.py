"""Decisions where optimized operations run, all in one place: on CPUs, few of them on GPUs, reference ops elsewhere.

A network with optimized ops (`models.ops.install`) decides once per forward pass, from the size and the device of its
input, and announces its `OpChoice` to its layers by a context variable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.ops.label_conv import is_label_conv_kernel_usable

# Elements of a network's first feature map. For smaller ones little is gained, and the order of sums is the published.
MIN_FEATURE_MAP_SIZE = 3 * 2**16
# Tiles of 4x4 outputs. For fewer, transforming the weights costs more than Winograd saves.
MIN_WINOGRAD_TILES = 16
# Input and output channels. For fewer, transforming the tiles costs more than Winograd saves.
MIN_WINOGRAD_CHANNELS = 128


@dataclass(frozen=True)
class OpChoice:
    """Optimized operations of one forward pass of a network.

    Attributes:
        channels_last: Whether feature maps are channels_last on a CPU, and layers use the operations for that format.
        foreground_channels_last: The same for the layers of a generator's foreground.
        norms_keep_format: Whether the outputs of norms, and so the inputs of heads, are channels_last with it.
        reference_history: Whether a generator encodes the previous images by reference ops.
    """

    channels_last: bool = False
    foreground_channels_last: bool = False
    norms_keep_format: bool = True
    reference_history: bool = False

    def for_foreground(self) -> OpChoice:
        """Return the choice for the layers of the foreground."""
        return replace(self, channels_last=self.foreground_channels_last)


_REFERENCE_CHOICE = OpChoice()
_reference_ops_enabled: ContextVar[bool] = ContextVar("reference_ops_enabled", default=False)
_op_choice: ContextVar[OpChoice] = ContextVar("op_choice", default=_REFERENCE_CHOICE)


def is_using_reference_ops() -> bool:
    """Return whether this is inside `reference_ops`. Compiled programs are not, and cannot read context variables."""
    return not torch.compiler.is_compiling() and _reference_ops_enabled.get()


@contextmanager
def reference_ops() -> Iterator[None]:
    """Run reference operations only.

    They are twice differentiable. For constant feature maps, which norms turn into amplified rounding errors, they have
    the rounding errors of the public release.
    """
    token = _reference_ops_enabled.set(True)
    try:
        yield
    finally:
        _reference_ops_enabled.reset(token)


@contextmanager
def use_ops(choice: OpChoice) -> Iterator[None]:
    """Announce a network's choice to its layers."""
    token = _op_choice.set(choice)
    try:
        yield
    finally:
        _op_choice.reset(token)


def current_op_choice() -> OpChoice:
    """Return the choice of the network whose forward pass this is; reference ops in compiled programs."""
    if torch.compiler.is_compiling() or is_using_reference_ops():
        return _REFERENCE_CHOICE
    return _op_choice.get()


def uses_optimized_ops(device: torch.device) -> bool:
    """Return whether optimized operations may run on the device.

    Compiled and exported programs hold reference operations, which every runtime knows.
    """
    return (
        device.type == "cpu" and not torch.compiler.is_compiling() and not is_using_reference_ops()
    )


def should_use_sparse_labels(device: torch.device) -> bool:
    """Return whether label maps need not be one-hot.

    On a GPU only without gradients: the kernel has no backward pass.
    """
    if uses_optimized_ops(device):
        return True
    may_use_kernel = (
        device.type == "cuda" and not torch.is_grad_enabled() and not is_using_reference_ops()
    )
    return may_use_kernel and is_label_conv_kernel_usable(device)


def should_use_label_conv(ids: Tensor, weight: Tensor) -> bool:
    """Return whether label maps (..., H, W) are convolved by summing weights by label, not as one-hot maps.

    In compiled programs the sum has no backward pass.
    """
    if torch.compiler.is_compiling() and torch.is_grad_enabled():
        return False
    return weight.is_cuda or len(weight) * ids.shape[-2:].numel() >= MIN_FEATURE_MAP_SIZE


def is_cuda_autocast_enabled(device: torch.device) -> bool:
    """Return whether convolutions run in half precision on tensor cores."""
    return device.type == "cuda" and torch.is_autocast_enabled("cuda")


def cast_for_conv(x: Tensor) -> Tensor:
    """Cast weights to the precision of convolutions. On a CPU sums by label are as quick in float32."""
    return x.to(torch.get_autocast_dtype("cuda")) if is_cuda_autocast_enabled(x.device) else x


def should_use_channels_last(x: Tensor, n_channels: int) -> bool:
    """Return whether optimized ops for channels_last are worthwhile on a CPU.

    Args:
        x: Input (..., H, W) of a network.
        n_channels: Channels of its first layer at this size.
    """
    return (
        uses_optimized_ops(x.device) and n_channels * x.shape[-2:].numel() >= MIN_FEATURE_MAP_SIZE
    )


def to_channels_last(x: Tensor, n_channels: int) -> Tensor:
    """Convert the input (N, C, H, W) of a network to channels_last where that is worthwhile.

    On a CPU for the optimized ops and oneDNN's convolutions, on a GPU in half precision for tensor cores.

    Args:
        x: Input (N, C, H, W).
        n_channels: Channels of the network's first layer at this size.
    """
    uses_tensor_cores = is_cuda_autocast_enabled(x.device) and not is_using_reference_ops()
    if uses_tensor_cores or should_use_channels_last(x, n_channels):
        return x.contiguous(memory_format=torch.channels_last)
    return x


def should_use_winograd(x: Tensor, weight: Tensor) -> bool:
    """Return whether to convolve x (N, C, H, W), not yet padded by the convolution, by Winograd's algorithm.

    For 3x3 and 4x4 convolutions of stride 1.
    """
    has_one_dtype = x.dtype == weight.dtype
    return has_one_dtype and is_wide(weight) and is_winograd_worthwhile(x, *x.shape[2:])


def is_winograd_worthwhile(x: Tensor, height: int, width: int) -> bool:
    """Return whether Winograd pays for a wide convolution.

    Not in half precision: differences of sums would cost 7 dB, and the direct convolution is as quick.

    Args:
        x: Its input or output (N, C, ., .).
        height: Height of its input.
        width: Width of its input.
    """
    tiles = x.shape[0] * (height // 4) * (width // 4)
    return (
        uses_optimized_ops(x.device)
        and not torch.is_autocast_enabled("cpu")
        and tiles >= MIN_WINOGRAD_TILES
    )


def is_wide(weight: Tensor) -> bool:
    """Return whether a weight (O, C, h, w) has channels enough for Winograd."""
    return min(weight.shape[:2]) >= MIN_WINOGRAD_CHANNELS
