"""Which implementation runs, all in one place: the fast ones on CPUs, few of them on GPUs too, the plain ones wherever
else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch
from torch import Tensor

from models.ops.label_conv import is_label_conv_kernel_usable

_reference_ops_enabled = ContextVar("plain", default=False)

MIN_FEATURE_MAP_SIZE = (
    3 * 2**16
)  # in a network's first map: for fewer, little is gained, and sums are in the published order
MIN_WINOGRAD_TILES = (
    16  # of 4x4 results: for fewer, transforming the weights costs more than it saves
)
MIN_WINOGRAD_CHANNELS = 128  # below, the transforms take more time than the products save


def is_using_reference_ops() -> bool:
    """Whether this is inside of `plainly`; nothing is compiled there, and no compiler could look."""
    return not torch.compiler.is_compiling() and _reference_ops_enabled.get()


def uses_optimized_ops(device: torch.device) -> bool:
    """Programs that are exported or compiled hold plain operations, which every runtime knows."""
    return (
        device.type == "cpu" and not torch.compiler.is_compiling() and not is_using_reference_ops()
    )


@contextmanager
def reference_ops() -> Iterator[None]:
    """Plain operations alone. Their gradients have gradients; and what rounding leaves of a constant map, which norms
    blow up, is with them what the public release is left with."""
    before = _reference_ops_enabled.set(True)
    try:
        yield
    finally:
        _reference_ops_enabled.reset(before)


def current_op_choice() -> AbstractContextManager:
    """What is chosen where this is called, for what is computed elsewhere."""
    return reference_ops() if is_using_reference_ops() else nullcontext()


def should_use_sparse_labels(device: torch.device) -> bool:
    """Whether label maps need not be one-hot. On a GPU only where nobody learns: the kernel has no way back."""
    by_kernel = (
        device.type == "cuda" and not torch.is_grad_enabled() and not is_using_reference_ops()
    )
    return uses_optimized_ops(device) or (by_kernel and is_label_conv_kernel_usable(device))


def should_use_label_conv(ids: Tensor, weight: Tensor) -> bool:
    """For the convolution of label maps (..., H, W): summing weights by label, instead of convolving one-hot maps. In
    compiled programs the sum has no way back."""
    if torch.compiler.is_compiling() and torch.is_grad_enabled():
        return False
    return weight.is_cuda or len(weight) * ids.shape[-2:].numel() >= MIN_FEATURE_MAP_SIZE


def is_cuda_autocast_enabled(device: torch.device) -> bool:
    """Whether tensor cores convolve in half precision."""
    return device.type == "cuda" and torch.is_autocast_enabled("cuda")


def cast_for_conv(x: Tensor) -> Tensor:
    """Weights in the precision that convolutions have here. On a CPU sums by label are as quick in float32."""
    return x.to(torch.get_autocast_dtype("cuda")) if is_cuda_autocast_enabled(x.device) else x


def to_channels_last(x: Tensor, n_channels: int) -> Tensor:
    """(N, C, H, W) for a network of `width` channels: channels last where fast ways pay, whose sign this layout is to
    the layers that follow. It also suits oneDNN's convolutions, and is the one that tensor cores read."""
    on_cpu = (
        uses_optimized_ops(x.device) and n_channels * x.shape[-2:].numel() >= MIN_FEATURE_MAP_SIZE
    )
    last = on_cpu or (is_cuda_autocast_enabled(x.device) and not is_using_reference_ops())
    return x.contiguous(memory_format=torch.channels_last) if last else x


def uses_channels_last_ops(x: Tensor) -> bool:
    """Whether the fast ways of a CPU take it."""
    return (
        uses_optimized_ops(x.device)
        and x.dim() == 4
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def should_use_channels_last_norm(x: Tensor) -> bool:
    """Torch's own norm is inexact for channels that are last on a CPU: its sums are single long ones. Half precision
    loses nothing by that."""
    return uses_channels_last_ops(x) and x.dtype.itemsize >= 4


def should_use_winograd(x: Tensor, weight: Tensor) -> bool:
    """For 3x3 convolutions of stride 1. Not in half precision, of which its sums of differences would cost 7 dB, and
    which is as quick without."""
    tiles = x.shape[0] * (x.shape[2] // 4) * (x.shape[3] // 4)
    full = x.dtype == weight.dtype and not torch.is_autocast_enabled("cpu")
    return full and uses_optimized_ops(x.device) and is_wide(weight) and tiles >= MIN_WINOGRAD_TILES


def is_wide(weight: Tensor) -> bool:
    """Whether Winograd may pay for a weight (O, C, h, w)."""
    return min(weight.shape[:2]) >= MIN_WINOGRAD_CHANNELS
