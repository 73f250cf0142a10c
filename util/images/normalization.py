"""Conversion of uint8 pixels to float32, done on the device that uses them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# (..., C, H, W) uint8 -> float32. Must be a module-level function: loader workers pickle it.
PixelNormalization = Callable[[Tensor], Tensor]


def normalize_to_01(image: Tensor) -> Tensor:
    """Convert uint8 0..255 to float32 in [0, 1]."""
    assert image.dtype == torch.uint8, image.dtype
    return exact_divide(image.float(), 255)


def normalize_to_pm1(image: Tensor) -> Tensor:
    """Convert uint8 0..255 to float32 in [-1, 1]."""
    # as published: two roundings, (x / 255 - 0.5) / 0.5; x / 127.5 - 1 differs in the last bit.
    return (normalize_to_01(image) - 0.5) / 0.5


def normalize_if_uint8(image: Tensor) -> Tensor:
    """Convert uint8 to float32 in [-1, 1]; return a float image unchanged."""
    return normalize_to_pm1(image) if image.dtype == torch.uint8 else image


def exact_divide(x: Tensor, divisor: float) -> Tensor:
    """Return x / divisor, correctly rounded on every device.

    PyTorch's CUDA kernel divides by a Python scalar by multiplying with its reciprocal. That is one
    rounding away from the CPU's result. Division by a tensor is a true division on both.
    """
    return x / torch.full((), divisor, dtype=x.dtype, device=x.device)
