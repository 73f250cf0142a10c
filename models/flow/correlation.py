"""FlowNetC's correlation of two feature maps, in plain PyTorch, on any device.

All horizontal displacements of a row pair are one matrix product: features of row y (W x C) times features of row
y + dy (C x W). Of each product only a band of diagonals is wanted, so rows are cut into blocks, which keeps the band
dense, and for a stride into phases (columns of equal remainder), which meet only themselves. Peak memory is two
outputs and one block's products, whatever the number of displacements.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.flow.correlation_triton import correlation_triton, is_correlation_kernel_supported

_BLOCK_COLUMNS = 16  # columns of one phase: wide enough for a fast matrix product, narrow enough for a dense band


def correlation(a: Tensor, b: Tensor, max_displacement: int, stride: int) -> Tensor:
    """`mean over channels of a(p) * b(p + d)` for every displacement d; b is 0 outside.

    a, b: (N, C, H, W). d runs over multiples of `stride` in -max_displacement..max_displacement, rows outer, columns
    inner. Returns (N, D * D, H, W), D = 2 * (max_displacement // stride) + 1. Differentiable once, in both.
    """
    assert a.shape == b.shape and a.dim() == 4 and stride > 0 <= max_displacement
    _, channels, height, width = a.shape
    return _Correlation.apply(
        a, b, _Layout(channels, height, width, max_displacement // stride, stride)
    )


@dataclass(frozen=True)
class _Layout:
    """Where the numbers lie. Maps: (N, H, phase, column of the phase, C). Products: (N, dy, H, phase, column, dx)."""

    channels: int
    height: int
    width: int
    radius: int
    stride: int

    @property
    def columns(self) -> int:
        return -(-self.width // self.stride)

    @property
    def displacements(self) -> int:
        return 2 * self.radius + 1

    def split_columns(self, maps: Tensor, margin: int) -> Tensor:
        """(N, C, H, W) -> (N, H, phase, margin + column + margin, C), zeros around."""
        fill = self.columns * self.stride - self.width
        padded = F.pad(maps, (margin * self.stride, margin * self.stride + fill))
        return padded.unflatten(3, (-1, self.stride)).permute(0, 2, 4, 3, 1).contiguous()

    def join_columns(self, split: Tensor, margin: int) -> Tensor:
        """The inverse of `split`."""
        kept = split[:, :, :, margin : margin + self.columns]
        return kept.permute(0, 4, 1, 3, 2).flatten(3)[..., : self.width]

    def zero_products(self, reference: Tensor) -> Tensor:
        size = (
            reference.shape[0],
            self.displacements,
            self.height,
            self.stride,
            self.columns,
            self.displacements,
        )
        return reference.new_zeros(size)

    def to_channels(self, products: Tensor) -> Tensor:
        """Products -> (N, dy * dx, H, W)."""
        return products.permute(0, 1, 5, 2, 4, 3).flatten(4).flatten(1, 2)[..., : self.width]

    def from_channels(self, maps: Tensor) -> Tensor:
        """The inverse of `to_channels`."""
        filled = F.pad(maps, (0, self.columns * self.stride - self.width))
        apart = filled.unflatten(3, (-1, self.stride)).unflatten(
            1, (self.displacements, self.displacements)
        )
        return apart.permute(0, 1, 3, 5, 4, 2)

    def iter_blocks(self) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]]:
        """Index of each block in the products, in a's map and in b's (which has a margin of `radius` columns)."""
        for row in range(self.displacements):
            dy = (row - self.radius) * self.stride
            top, bottom = max(0, -dy), min(self.height, self.height - dy)
            for left in range(0, self.columns if top < bottom else 0, _BLOCK_COLUMNS):
                right = min(left + _BLOCK_COLUMNS, self.columns)
                inside, shifted = slice(top, bottom), slice(top + dy, bottom + dy)
                columns, reach = slice(left, right), slice(left, right + 2 * self.radius)
                yield (
                    (slice(None), row, inside, slice(None), columns),
                    _index_map(inside, columns),
                    _index_map(shifted, reach),
                )


def _index_map(rows: slice, columns: slice) -> tuple[slice, ...]:
    return slice(None), rows, slice(None), columns


def _view_diagonal_band(products: Tensor, displacements: int) -> Tensor:
    """The view (…, W, D) of (…, W, W + D - 1) whose entry [w, d] is [w, w + d]."""
    *outer, row, column = products.stride()
    return products.as_strided(
        (*products.shape[:-1], displacements), (*outer, row + column, column)
    )


class _Correlation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, layout: _Layout) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.layout = layout
        if is_correlation_kernel_supported(a):
            return correlation_triton(a, b, layout.radius, layout.stride)
        return _correlation_forward(a, b, layout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b = ctx.saved_tensors
        return *_correlation_backward(grad, a, b, ctx.layout), None


def _correlation_forward(a: Tensor, b: Tensor, layout: _Layout) -> Tensor:
    maps_a, maps_b = (
        layout.split_columns(a, 0).div_(layout.channels),
        layout.split_columns(b, layout.radius),
    )
    out = layout.zero_products(a)
    for here, at_a, at_b in layout.iter_blocks():
        out[here] = _view_diagonal_band(maps_a[at_a] @ maps_b[at_b].mT, layout.displacements)
    return layout.to_channels(out)


def _correlation_backward(
    grad: Tensor, a: Tensor, b: Tensor, layout: _Layout
) -> tuple[Tensor, Tensor]:
    maps_a, maps_b = layout.split_columns(a, 0), layout.split_columns(b, layout.radius)
    grad_a, grad_b = torch.zeros_like(maps_a), torch.zeros_like(maps_b)
    grad = layout.from_channels(grad) / layout.channels
    for here, at_a, at_b in layout.iter_blocks():
        block = maps_a[at_a]
        products = grad.new_zeros(*block.shape[:-1], maps_b[at_b].shape[-2])
        _view_diagonal_band(products, layout.displacements).copy_(grad[here])
        grad_a[at_a] += products @ maps_b[at_b]
        grad_b[at_b] += products.mT @ block
    return layout.join_columns(grad_a, 0), layout.join_columns(grad_b, layout.radius)
