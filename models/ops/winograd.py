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

_PATCH_SIDE = 6
_FINITE_POINTS = (0.0, 2**0.5, -(2**0.5), 0.5**0.5, -(0.5**0.5))
_MIRRORED_POINT_ORDER = [5, 3, 4, 1, 2, 0]  # where 1/p stands for each point p
_TILES_PER_CHUNK = 128  # tiles that are transformed at a time: enough for the matrix products, few enough to stay in cache


@dataclass(frozen=True)
class WinogradTransforms:
    """Of lines and of columns alike. patches: (6, 6), from pixels to values at the points. results: (tile, 6), from
    values to results. kernels: (6, side), from weights to values."""

    input_transform: Tensor
    output_transform: Tensor
    kernel_transform: Tensor

    @property
    def tile_side(self) -> int:
        return len(self.output_transform)

    @property
    def kernel_side(self) -> int:
        return self.kernel_transform.shape[1]


@lru_cache
def get_winograd_transforms(
    kernel_side: int, dtype: torch.dtype, device: torch.device, is_mirrored: bool = False
) -> WinogradTransforms:
    """side: of the kernel, 3 or 4. mirrored: for kernels that were transformed unmirrored."""
    points = torch.tensor(_FINITE_POINTS, dtype=torch.float64)
    lengths = torch.tensor([1.0, *map(abs, _FINITE_POINTS[1:]), 1.0], dtype=torch.float64)[:, None]
    scales, signs = (
        lengths ** (-(kernel_side - 1) / 2),
        F.pad(points.sign()[1:, None], (0, 0, 1, 1), value=1.0) ** (kernel_side - 1),
    )

    def values(degree: int) -> Tensor:
        """Of the powers below `degree` at all points."""
        infinity = F.one_hot(torch.tensor([degree - 1]), degree)
        return torch.cat([points[:, None] ** torch.arange(degree), infinity])

    results, kernels = values(_PATCH_SIDE - kernel_side + 1).T, values(kernel_side) * scales
    patches = torch.linalg.inv(values(_PATCH_SIDE)).T / scales
    if is_mirrored:
        patches, results = (
            (patches * signs)[_MIRRORED_POINT_ORDER],
            results[:, _MIRRORED_POINT_ORDER],
        )
    return WinogradTransforms(
        *(matrix.to(device, dtype).contiguous() for matrix in (patches, results, kernels))
    )


def _apply_2d(matrix: Tensor, x: Tensor) -> Tensor:
    """by: (m, n), applied to lines and columns of x: (n * n, ...) -> (m * m, the rest). What makes x smaller
    begins with columns, for the smaller half of the work."""
    after, before = matrix.shape
    if after < before:
        columns = torch.matmul(matrix, x.reshape(before, before, -1))
        return (matrix @ columns.view(before, -1)).view(after * after, -1)
    lines = (matrix @ x.reshape(before, -1)).view(after, before, -1)
    return torch.matmul(matrix, lines).flatten(0, 1)


@lru_cache(maxsize=64)
def _compute_patch_indices(height: int, width: int, tile_side: int, device: torch.device) -> Tensor:
    """(6, 6, tile rows, tiles in a row): for each place of each patch its pixel in a map (height * width). Patches that
    reach beyond repeat the border, for results that nobody asked for."""

    def along(length: int) -> Tensor:
        first = torch.arange(0, length - (_PATCH_SIDE - tile_side), tile_side, device=device)
        return (first + torch.arange(_PATCH_SIDE, device=device)[:, None]).clamp(max=length - 1)

    rows, columns = along(height), along(width)
    return rows[:, None, :, None] * width + columns[None, :, None, :]


def _iter_transformed_patches(
    x: Tensor, transforms: WinogradTransforms
) -> Iterator[tuple[int, slice, Tensor]]:
    """x: (N, H, W, C). Yields the sample, a run of its tile rows, and (36, tiles, C): their patches, transformed."""
    _, height, width, channels = x.shape
    places = _compute_patch_indices(height, width, transforms.tile_side, x.device)
    run = max(1, _TILES_PER_CHUNK // places.shape[3])
    for n, pixels in enumerate(x.flatten(1, 2)):
        for top in range(0, places.shape[2], run):
            chosen = pixels.index_select(0, places[:, :, top : top + run].flatten())
            yield (
                n,
                slice(top, top + run),
                _apply_2d(transforms.input_transform, chosen).view(
                    _PATCH_SIDE * _PATCH_SIDE, -1, channels
                ),
            )


def _convolve(
    x: Tensor,
    transformed_weight: Tensor,
    transforms: WinogradTransforms,
    bias: Tensor | None = None,
) -> Tensor:
    """x: (N, H, W, C); kernels: (36, C, O), transformed -> (N, H - side + 1, W - side + 1, O)."""
    tile, batch, (height, width) = (
        transforms.tile_side,
        len(x),
        (length - transforms.kernel_side + 1 for length in x.shape[1:3]),
    )
    down, across, channels = -(-height // tile), -(-width // tile), transformed_weight.shape[2]
    out = x.new_empty(batch, down, tile, across, tile, channels)
    for n, rows, numbers in _iter_transformed_patches(x, transforms):
        tiles = _apply_2d(transforms.output_transform, torch.bmm(numbers, transformed_weight))
        tiles = tiles.view(tile, tile, -1, across, channels).permute(2, 0, 3, 1, 4)
        torch.add(tiles, 0.0 if bias is None else bias, out=out[n, rows])
    return out.view(batch, down * tile, across * tile, channels)[:, :height, :width].contiguous()


def _compute_weight_grad(x: Tensor, grad: Tensor, transforms: WinogradTransforms) -> Tensor:
    """x: (N, H, W, C); grad: (N, H - side + 1, W - side + 1, O) -> (O, C, side, side)."""
    tile, side = transforms.tile_side, transforms.kernel_side
    height, width = (-(-length // tile) * tile for length in grad.shape[1:3])
    whole = F.pad(grad, (0, 0, 0, width - grad.shape[2], 0, height - grad.shape[1]))
    tiles = whole.unflatten(1, (-1, tile)).unflatten(3, (-1, tile))
    total: Tensor | None = None
    for n, rows, numbers in _iter_transformed_patches(x, transforms):
        results = _apply_2d(
            transforms.output_transform.T,
            tiles[n, rows].permute(1, 3, 0, 2, 4).reshape(tile * tile, -1),
        )
        values = results.view(_PATCH_SIDE * _PATCH_SIDE, -1, grad.shape[3]).mT
        total = torch.bmm(values, numbers) if total is None else total.baddbmm_(values, numbers)
    assert total is not None
    sums = _apply_2d(transforms.kernel_transform.T, total.flatten(1)).view(
        side, side, *total.shape[1:]
    )
    return sums.permute(2, 3, 0, 1).contiguous()


def transform_weight(weight: Tensor) -> Tensor:
    """(O, C, side, side) -> (36, O, C): four times as many numbers for a side of 3, so who learns keeps them for the
    way back and no longer."""
    through = get_winograd_transforms(weight.shape[-1], weight.dtype, weight.device)
    both = torch.kron(through.kernel_transform, through.kernel_transform)
    return (both @ weight.flatten(2).flatten(0, 1).T).view(-1, *weight.shape[:2])


def winograd_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: int = 0,
    transformed_weight: Tensor | None = None,
) -> Tensor:
    """F.conv2d(x, weight, bias, padding=padding) of a 3x3 or 4x4 kernel; the result's channels lie last. padding: less
    than its side. kernels: `transformed(weight)`, for use where the weight does not learn. Differentiable once."""
    learns = torch.is_grad_enabled() and weight.requires_grad
    return _WinogradConv2d.apply(
        x, weight.view_as(weight), bias, padding, None if learns else transformed_weight
    ).permute(0, 3, 1, 2)


def _is_grad_requested(node: Any, index: int) -> bool:
    """Whether somebody waits for the gradient of this input, no leaf: `needs_input_grad` is true for every input that
    could have one, so a generator's gradient would cost those of the discriminators that it passes through too."""
    before = node.next_functions[index][0]
    return before is not None and torch._C._will_engine_execute_node(before)


class _WinogradConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: int,
        transformed_weight: Tensor | None,
    ) -> Tensor:
        through = get_winograd_transforms(weight.shape[-1], x.dtype, x.device)
        transformed_weight = (
            transform_weight(weight) if transformed_weight is None else transformed_weight
        )
        ctx.save_for_backward(x, transformed_weight)
        ctx.side, ctx.padding = weight.shape[-1], padding
        return _convolve(_pad_to_nhwc(x, padding), transformed_weight.mT, through, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, kernels = ctx.saved_tensors
        through, back = (
            get_winograd_transforms(ctx.side, x.dtype, x.device, mirrored)
            for mirrored in (False, True)
        )
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            around = _pad_to_nhwc(grad.permute(0, 3, 1, 2), through.kernel_side - 1 - ctx.padding)
            to_x = _convolve(around, kernels, back).permute(0, 3, 1, 2)
        if _is_grad_requested(ctx, 1):
            to_weight = _compute_weight_grad(_pad_to_nhwc(x, ctx.padding), grad, through)
        if ctx.needs_input_grad[2]:
            to_bias = grad.sum((0, 1, 2))
        return to_x, to_weight, to_bias, None, None


def _pad_to_nhwc(x: Tensor, padding: int) -> Tensor:
    """(N, C, H, W) -> (N, H + 2 padding, W + 2 padding, C), zeros around."""
    rows = x.permute(0, 2, 3, 1).contiguous()
    return F.pad(rows, (0, 0, padding, padding, padding, padding)) if padding else rows
