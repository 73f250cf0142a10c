"""Which implementation runs, all in one place: the fast ones on CPUs, the plain ones wherever else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch
from torch import Tensor

_plain = ContextVar("plain", default=False)

LEAST_WIDTH = 16  # channels that a vector unit takes at a time: narrower networks gain nothing by other orders of sums
LEAST_TILES = 16  # of 4x4 results: for fewer, transforming the weights costs more than it saves
LEAST_CHANNELS = 128  # below, the transforms take more time than the products save


def fast_on(device: torch.device) -> bool:
    """Programs that are exported or compiled hold plain operations, which every runtime knows."""
    return device.type == "cpu" and not torch.compiler.is_compiling() and not _plain.get()


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
    return plainly() if _plain.get() else nullcontext()


def laid_out(x: Tensor, width: int) -> Tensor:
    """(N, C, H, W) for a network of `width` channels: channels last where fast ways pay, whose sign this layout is to
    the layers that follow. It also suits oneDNN's convolutions."""
    return x.contiguous(memory_format=torch.channels_last) if fast_on(x.device) and width >= LEAST_WIDTH else x


def is_laid_out(x: Tensor) -> bool:
    return fast_on(x.device) and x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def norms_fast(x: Tensor) -> bool:
    """Torch's own norm is inexact for channels that are last on a CPU: its sums are single long ones. Half precision
    loses nothing by that."""
    return is_laid_out(x) and x.dtype.itemsize >= 4


def sums_pay(weight: Tensor) -> bool:
    """For the convolution of label maps."""
    return fast_on(weight.device) and len(weight) >= LEAST_WIDTH


def winograd_pays(x: Tensor, weight: Tensor) -> bool:
    """For 3x3 convolutions of stride 1. Not in half precision, of which its sums of differences would cost 7 dB, and
    which is as quick without."""
    tiles = x.shape[0] * (x.shape[2] // 4) * (x.shape[3] // 4)
    full = x.dtype == weight.dtype and not torch.is_autocast_enabled("cpu")
    return full and fast_on(x.device) and min(weight.shape[:2]) >= LEAST_CHANNELS and tiles >= LEAST_TILES
