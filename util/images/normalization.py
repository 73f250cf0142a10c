"""What the bytes of images stand for. Clips are read and sent as bytes; on the device they become numbers, a window
at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PixelNormalization = Callable[
    [Tensor], Tensor
]  # (..., C, H, W) uint8 -> float32; a module's function: workers send it by its name


def normalize_to_01(image: Tensor) -> Tensor:
    """0..255 to float32 in [0, 1]."""
    assert image.dtype == torch.uint8, image.dtype
    return exact_divide(image.float(), 255)


def normalize_to_pm1(image: Tensor) -> Tensor:
    """0..255 to float32 in [-1, 1]."""
    return (normalize_to_01(image) - 0.5) / 0.5


def normalize_if_uint8(image: Tensor) -> Tensor:
    """An image in [-1, 1], of bytes or, as it is, of such numbers."""
    return normalize_to_pm1(image) if image.dtype == torch.uint8 else image


def exact_divide(x: Tensor, divisor: float) -> Tensor:
    """x / divisor to the last bit. By a plain number CUDA would multiply by the reciprocal, one rounding away from what
    the host makes of the same bytes."""
    return x / torch.full((), divisor, dtype=x.dtype, device=x.device)
