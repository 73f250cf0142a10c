"""3x3 and 4x4 convolutions of stride 1 with a quarter of the products: Winograd's F(4x4, 3x3) and F(3x3, 4x4) (Lavin
and Gray, 2016).

Each 6x6 patch of the input becomes 36 numbers a channel, which meet the weights' 36 in as many matrix products, and
become 4x4 results, or 3x3. The numbers are values of polynomials at the points 0, +-sqrt(1/2), +-sqrt(2) and
infinity, which lose fewer digits than small integers: errors are about five times those of the direct way. As the
points are closed under p -> 1/p, and rows are scaled by |p|^-(side - 1)/2, the transform of a mirrored kernel is that
of the kernel in another order, for 4x4 kernels with other signs where p is negative; so gradients of the input use the
weights as they are transformed for the way forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

PATCH = 6
FINITE = (0.0, 2**0.5, -(2**0.5), 0.5**0.5, -(0.5**0.5))
MIRRORED = [5, 3, 4, 1, 2, 0]  # where 1/p stands for each point p
CHUNK = 128  # tiles that are transformed at a time: enough for the matrix products, few enough to stay in cache


@dataclass(frozen=True)
class Transforms:
    """Of lines and of columns alike. patches: (6, 6), from pixels to values at the points. results: (tile, 6), from
    values to results. kernels: (6, side), from weights to values."""

    patches: Tensor
    results: Tensor
    kernels: Tensor

    @property
    def tile(self) -> int:
        return len(self.results)

    @property
    def side(self) -> int:
        return self.kernels.shape[1]


@lru_cache
def transforms(side: int, dtype: torch.dtype, device: torch.device, mirrored: bool = False) -> Transforms:
    """side: of the kernel, 3 or 4. mirrored: for kernels that were transformed unmirrored."""
    points = torch.tensor(FINITE, dtype=torch.float64)
    lengths = torch.tensor([1.0, *map(abs, FINITE[1:]), 1.0], dtype=torch.float64)[:, None]
    scales, signs = lengths ** (-(side - 1) / 2), F.pad(points.sign()[1:, None], (0, 0, 1, 1), value=1.0) ** (side - 1)

    def values(degree: int) -> Tensor:
        """Of the powers below `degree` at all points."""
        infinity = F.one_hot(torch.tensor([degree - 1]), degree)
        return torch.cat([points[:, None] ** torch.arange(degree), infinity])

    results, kernels = values(PATCH - side + 1).T, values(side) * scales
    patches = torch.linalg.inv(values(PATCH)).T / scales
    if mirrored:
        patches, results = (patches * signs)[MIRRORED], results[:, MIRRORED]
    return Transforms(*(matrix.to(device, dtype).contiguous() for matrix in (patches, results, kernels)))


def _twice(by: Tensor, x: Tensor) -> Tensor:
    """by: (m, n), applied to lines and columns of x: (n * n, ...) -> (m * m, the rest). What makes x smaller
    begins with columns, for the smaller half of the work."""
    after, before = by.shape
    if after < before:
        columns = torch.matmul(by, x.reshape(before, before, -1))
        return (by @ columns.view(before, -1)).view(after * after, -1)
    lines = (by @ x.reshape(before, -1)).view(after, before, -1)
    return torch.matmul(by, lines).flatten(0, 1)


@lru_cache(maxsize=64)
def _patch_rows(height: int, width: int, tile: int, device: torch.device) -> Tensor:
    """(6, 6, tile rows, tiles in a row): for each place of each patch its pixel in a map (height * width). Patches that
    reach beyond repeat the border, for results that nobody asked for."""
    def along(length: int) -> Tensor:
        first = torch.arange(0, length - (PATCH - tile), tile, device=device)
        return (first + torch.arange(PATCH, device=device)[:, None]).clamp(max=length - 1)

    rows, columns = along(height), along(width)
    return (rows[:, None, :, None] * width + columns[None, :, None, :])


def _patches(x: Tensor, through: Transforms) -> Iterator[tuple[int, slice, Tensor]]:
    """x: (N, H, W, C). Yields the sample, a run of its tile rows, and (36, tiles, C): their patches, transformed."""
    _, height, width, channels = x.shape
    places = _patch_rows(height, width, through.tile, x.device)
    run = max(1, CHUNK // places.shape[3])
    for n, pixels in enumerate(x.flatten(1, 2)):
        for top in range(0, places.shape[2], run):
            chosen = pixels.index_select(0, places[:, :, top:top + run].flatten())
            yield n, slice(top, top + run), _twice(through.patches, chosen).view(PATCH * PATCH, -1, channels)


def _convolved(x: Tensor, kernels: Tensor, through: Transforms, bias: Tensor | None = None) -> Tensor:
    """x: (N, H, W, C); kernels: (36, C, O), transformed -> (N, H - side + 1, W - side + 1, O)."""
    tile, batch, (height, width) = through.tile, len(x), (length - through.side + 1 for length in x.shape[1:3])
    down, across, channels = -(-height // tile), -(-width // tile), kernels.shape[2]
    out = x.new_empty(batch, down, tile, across, tile, channels)
    for n, rows, numbers in _patches(x, through):
        tiles = _twice(through.results, torch.bmm(numbers, kernels))
        tiles = tiles.view(tile, tile, -1, across, channels).permute(2, 0, 3, 1, 4)
        torch.add(tiles, 0.0 if bias is None else bias, out=out[n, rows])
    return out.view(batch, down * tile, across * tile, channels)[:, :height, :width].contiguous()


def _weight_gradient(x: Tensor, grad: Tensor, through: Transforms) -> Tensor:
    """x: (N, H, W, C); grad: (N, H - side + 1, W - side + 1, O) -> (O, C, side, side)."""
    tile, side = through.tile, through.side
    height, width = (-(-length // tile) * tile for length in grad.shape[1:3])
    whole = F.pad(grad, (0, 0, 0, width - grad.shape[2], 0, height - grad.shape[1]))
    tiles = whole.unflatten(1, (-1, tile)).unflatten(3, (-1, tile))
    total: Tensor | None = None
    for n, rows, numbers in _patches(x, through):
        results = _twice(through.results.T, tiles[n, rows].permute(1, 3, 0, 2, 4).reshape(tile * tile, -1))
        values = results.view(PATCH * PATCH, -1, grad.shape[3]).mT
        total = torch.bmm(values, numbers) if total is None else total.baddbmm_(values, numbers)
    assert total is not None
    sums = _twice(through.kernels.T, total.flatten(1)).view(side, side, *total.shape[1:])
    return sums.permute(2, 3, 0, 1).contiguous()


def transformed(weight: Tensor) -> Tensor:
    """(O, C, side, side) -> (36, O, C): four times as many numbers for a side of 3, so who learns keeps them for the
    way back and no longer."""
    through = transforms(weight.shape[-1], weight.dtype, weight.device)
    both = torch.kron(through.kernels, through.kernels)
    return (both @ weight.flatten(2).flatten(0, 1).T).view(-1, *weight.shape[:2])


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int = 0, kernels: Tensor | None = None) -> Tensor:
    """F.conv2d(x, weight, bias, padding=padding) of a 3x3 or 4x4 kernel; the result's channels lie last. padding: less
    than its side. kernels: `transformed(weight)`, for use where the weight does not learn. Differentiable once."""
    learns = torch.is_grad_enabled() and weight.requires_grad
    return _Winograd.apply(x, weight.view_as(weight), bias, padding, None if learns else kernels).permute(0, 3, 1, 2)


def _asked(node: Any, number: int) -> bool:
    """Whether somebody waits for the gradient of this input, no leaf: `needs_input_grad` is true for every input that
    could have one, so a generator's gradient would cost those of the discriminators that it passes through too."""
    before = node.next_functions[number][0]
    return before is not None and torch._C._will_engine_execute_node(before)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int,
                kernels: Tensor | None) -> Tensor:
        through = transforms(weight.shape[-1], x.dtype, x.device)
        kernels = transformed(weight) if kernels is None else kernels
        ctx.save_for_backward(x, kernels)
        ctx.side, ctx.padding = weight.shape[-1], padding
        return _convolved(_padded(x, padding), kernels.mT, through, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, kernels = ctx.saved_tensors
        through, back = (transforms(ctx.side, x.dtype, x.device, mirrored) for mirrored in (False, True))
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            around = _padded(grad.permute(0, 3, 1, 2), through.side - 1 - ctx.padding)
            to_x = _convolved(around, kernels, back).permute(0, 3, 1, 2)
        if _asked(ctx, 1):
            to_weight = _weight_gradient(_padded(x, ctx.padding), grad, through)
        if ctx.needs_input_grad[2]:
            to_bias = grad.sum((0, 1, 2))
        return to_x, to_weight, to_bias, None, None


def _padded(x: Tensor, padding: int) -> Tensor:
    """(N, C, H, W) -> (N, H + 2 padding, W + 2 padding, C), zeros around."""
    rows = x.permute(0, 2, 3, 1).contiguous()
    return F.pad(rows, (0, 0, padding, padding, padding, padding)) if padding else rows
