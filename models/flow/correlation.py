"""FlowNetC's correlation of two feature maps in PyTorch, on any device.

All horizontal displacements between row y of `a` and row y + dy of `b` are one matrix product, (W x C) times (C x W),
of which only a band of diagonals is needed. Rows are cut into blocks of columns, so that most of each product is
inside the band. With a stride, the columns are split by their remainder (their "phase"), because only columns of the
same phase are compared. Peak memory is two outputs and the products of one block, for any number of displacements.
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

# Columns of one block: enough for a fast matrix product, few enough that most of the product is in the band.
_BLOCK_COLUMNS = 16

_Index = tuple[Any, ...]


def correlation(a: Tensor, b: Tensor, max_displacement: int, stride: int) -> Tensor:
    """Return the channel mean of `a(p) * b(p + d)` for every displacement d; `b` is 0 outside the map.

    Args:
        a: (N, C, H, W).
        b: (N, C, H, W).
        max_displacement: d runs over the multiples of `stride` in -max_displacement..max_displacement, in y and in x.
        stride: Distance between displacements.

    Returns:
        (N, D * D, H, W) with D = 2 * (max_displacement // stride) + 1; dy is the outer and dx the inner index.
        Differentiable once, with respect to both maps.
    """
    assert a.shape == b.shape and a.dim() == 4 and stride > 0 <= max_displacement
    _, channels, height, width = a.shape
    layout = _Layout(channels, height, width, max_displacement // stride, stride)
    return _Correlation.apply(a, b, layout)


@dataclass(frozen=True)
class _Layout:
    """Memory layout of feature maps and products, and the blocks they are computed in.

    A feature map is (N, H, phase, column of the phase, C). Products are (N, dy, H, phase, column of the phase, dx).
    """

    channels: int
    height: int
    width: int
    radius: int  # displacements on either side of 0, in units of `stride`
    stride: int

    @property
    def columns(self) -> int:
        """Columns of one phase."""
        return -(-self.width // self.stride)

    @property
    def displacements(self) -> int:
        """Displacements in y, and in x."""
        return 2 * self.radius + 1

    def split_columns(self, maps: Tensor, margin: int) -> Tensor:
        """(N, C, H, W) -> (N, H, phase, margin + column + margin, C), padded with zeros."""
        fill = self.columns * self.stride - self.width
        padded = F.pad(maps, (margin * self.stride, margin * self.stride + fill))
        return padded.unflatten(3, (-1, self.stride)).permute(0, 2, 4, 3, 1).contiguous()

    def join_columns(self, split: Tensor, margin: int) -> Tensor:
        """Invert `split_columns`."""
        cropped = split[:, :, :, margin : margin + self.columns]
        return cropped.permute(0, 4, 1, 3, 2).flatten(3)[..., : self.width]

    def zero_products(self, reference: Tensor) -> Tensor:
        """Return zero products with the batch size, dtype and device of `reference`."""
        return reference.new_zeros(
            reference.shape[0],
            self.displacements,
            self.height,
            self.stride,
            self.columns,
            self.displacements,
        )

    def to_channels(self, products: Tensor) -> Tensor:
        """Products -> (N, dy * dx, H, W)."""
        return products.permute(0, 1, 5, 2, 4, 3).flatten(4).flatten(1, 2)[..., : self.width]

    def from_channels(self, maps: Tensor) -> Tensor:
        """Invert `to_channels`."""
        padded = F.pad(maps, (0, self.columns * self.stride - self.width))
        split = padded.unflatten(3, (-1, self.stride))
        split = split.unflatten(1, (self.displacements, self.displacements))
        return split.permute(0, 1, 3, 5, 4, 2)

    def iter_blocks(self) -> Iterator[tuple[_Index, _Index, _Index]]:
        """Yield each block's index into the products, map a, and map b.

        Map b has a margin of `radius` columns.
        """
        for row in range(self.displacements):
            dy = (row - self.radius) * self.stride
            top, bottom = max(0, -dy), min(self.height, self.height - dy)
            if top >= bottom:
                continue
            rows_a, rows_b = slice(top, bottom), slice(top + dy, bottom + dy)
            for left in range(0, self.columns, _BLOCK_COLUMNS):
                right = min(left + _BLOCK_COLUMNS, self.columns)
                columns_a, columns_b = slice(left, right), slice(left, right + 2 * self.radius)
                yield (
                    (slice(None), row, rows_a, slice(None), columns_a),
                    (slice(None), rows_a, slice(None), columns_a),
                    (slice(None), rows_b, slice(None), columns_b),
                )


def _view_diagonal_band(products: Tensor, displacements: int) -> Tensor:
    """Return the view (..., W, D) of (..., W, W + D - 1) whose entry [w, d] is [w, w + d]."""
    *outer, row_stride, column_stride = products.stride()
    size = (*products.shape[:-1], displacements)
    return products.as_strided(size, (*outer, row_stride + column_stride, column_stride))


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
        grad_a, grad_b = _correlation_backward(grad, a, b, ctx.layout)
        return grad_a, grad_b, None


def _correlation_forward(a: Tensor, b: Tensor, layout: _Layout) -> Tensor:
    maps_a = layout.split_columns(a, 0).div_(layout.channels)
    maps_b = layout.split_columns(b, layout.radius)
    out = layout.zero_products(a)
    for out_index, a_index, b_index in layout.iter_blocks():
        products = maps_a[a_index] @ maps_b[b_index].mT
        out[out_index] = _view_diagonal_band(products, layout.displacements)
    return layout.to_channels(out)


def _correlation_backward(
    grad: Tensor, a: Tensor, b: Tensor, layout: _Layout
) -> tuple[Tensor, Tensor]:
    maps_a, maps_b = layout.split_columns(a, 0), layout.split_columns(b, layout.radius)
    grad_a, grad_b = torch.zeros_like(maps_a), torch.zeros_like(maps_b)
    grad = layout.from_channels(grad) / layout.channels
    for out_index, a_index, b_index in layout.iter_blocks():
        block_a, block_b = maps_a[a_index], maps_b[b_index]
        products = grad.new_zeros(*block_a.shape[:-1], block_b.shape[-2])
        _view_diagonal_band(products, layout.displacements).copy_(grad[out_index])
        grad_a[a_index] += products @ block_b
        grad_b[b_index] += products.mT @ block_a
    return layout.join_columns(grad_a, 0), layout.join_columns(grad_b, layout.radius)
