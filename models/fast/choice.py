"""Which implementation runs, all in one place: the fast ones on CPUs, few of them on GPUs too, the plain ones wherever
else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch
from torch import Tensor

from models.fast.label_sum import kernel_works

_plain = ContextVar("plain", default=False)

LEAST_NUMBERS = 3 * 2**16  # in a network's first map: for fewer, little is gained, and sums are in the published order
LEAST_TILES = 16  # of 4x4 results: for fewer, transforming the weights costs more than it saves
LEAST_CHANNELS = 128  # below, the transforms take more time than the products save


def asked_plainly() -> bool:
    """Whether this is inside of `plainly`; nothing is compiled there, and no compiler could look."""
    return not torch.compiler.is_compiling() and _plain.get()


def fast_on(device: torch.device) -> bool:
    """Programs that are exported or compiled hold plain operations, which every runtime knows."""
    return device.type == "cpu" and not torch.compiler.is_compiling() and not asked_plainly()


@contextmanager
def plainly() -> Iterator[None]:
    """Plain operations alone. Their gradients have gradients; and what rounding leaves of a constant map, which norms
    blow up, is with them what the public release is left with."""
    before = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(before)


def as_here() -> AbstractContextManager:
    """What is chosen where this is called, for what is computed elsewhere."""
    return plainly() if asked_plainly() else nullcontext()


def labels_as_ids(device: torch.device) -> bool:
    """Whether label maps need not be one-hot. On a GPU only where nobody learns: the kernel has no way back."""
    by_kernel = device.type == "cuda" and not torch.is_grad_enabled() and not asked_plainly()
    return fast_on(device) or (by_kernel and kernel_works(device))


def sums_pay(ids: Tensor, weight: Tensor) -> bool:
    """For the convolution of label maps (..., H, W): summing weights by label, instead of convolving one-hot maps. In
    compiled programs the sum has no way back."""
    if torch.compiler.is_compiling() and torch.is_grad_enabled():
        return False
    return weight.is_cuda or len(weight) * ids.shape[-2:].numel() >= LEAST_NUMBERS


def half_on_gpu(device: torch.device) -> bool:
    """Whether tensor cores convolve in half precision."""
    return device.type == "cuda" and torch.is_autocast_enabled("cuda")


def as_convolved(x: Tensor) -> Tensor:
    """Weights in the precision that convolutions have here. On a CPU sums by label are as quick in float32."""
    return x.to(torch.get_autocast_dtype("cuda")) if half_on_gpu(x.device) else x


def laid_out(x: Tensor, width: int) -> Tensor:
    """(N, C, H, W) for a network of `width` channels: channels last where fast ways pay, whose sign this layout is to
    the layers that follow. It also suits oneDNN's convolutions, and is the one that tensor cores read."""
    on_cpu = fast_on(x.device) and width * x.shape[-2:].numel() >= LEAST_NUMBERS
    last = on_cpu or (half_on_gpu(x.device) and not asked_plainly())
    return x.contiguous(memory_format=torch.channels_last) if last else x


def is_laid_out(x: Tensor) -> bool:
    """Whether the fast ways of a CPU take it."""
    return fast_on(x.device) and x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def norms_fast(x: Tensor) -> bool:
    """Torch's own norm is inexact for channels that are last on a CPU: its sums are single long ones. Half precision
    loses nothing by that."""
    return is_laid_out(x) and x.dtype.itemsize >= 4


def winograd_pays(x: Tensor, weight: Tensor) -> bool:
    """For 3x3 convolutions of stride 1. Not in half precision, of which its sums of differences would cost 7 dB, and
    which is as quick without."""
    tiles = x.shape[0] * (x.shape[2] // 4) * (x.shape[3] // 4)
    full = x.dtype == weight.dtype and not torch.is_autocast_enabled("cpu")
    return full and fast_on(x.device) and wide(weight) and tiles >= LEAST_TILES


def wide(weight: Tensor) -> bool:
    """Whether Winograd may pay for a weight (O, C, h, w)."""
    return min(weight.shape[:2]) >= LEAST_CHANNELS
