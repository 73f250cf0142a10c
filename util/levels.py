"""What the bytes of pictures stand for. Clips are read and sent as bytes; on the device they become numbers, a window
at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Levels = Callable[[Tensor], Tensor]  # (..., C, H, W) uint8 -> float32; a module's function: workers send it by its name


def unit(levels: Tensor) -> Tensor:
    """0..255 to float32 in [0, 1]."""
    assert levels.dtype == torch.uint8, levels.dtype
    return quotient(levels.float(), 255)


def signed(levels: Tensor) -> Tensor:
    """0..255 to float32 in [-1, 1]."""
    return (unit(levels) - 0.5) / 0.5


def numbers_of(picture: Tensor) -> Tensor:
    """A picture in [-1, 1], of bytes or, as it is, of such numbers."""
    return signed(picture) if picture.dtype == torch.uint8 else picture


def quotient(x: Tensor, divisor: float) -> Tensor:
    """x / divisor to the last bit. By a plain number CUDA would multiply by the reciprocal, one rounding away from what
    the host makes of the same bytes."""
    return x / torch.full((), divisor, dtype=x.dtype, device=x.device)
