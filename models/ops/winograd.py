"""3x3 and 4x4 convolutions of stride 1 by Winograd's algorithm: F(4x4, 3x3) and F(3x3, 4x4) (Lavin and Gray, 2016).

It takes about a quarter of the multiplications. Each 6x6 patch of the input is transformed to 36 values per channel.
They are multiplied with the 36 transformed values of the weights, as 36 matrix products, and transformed back to 4x4 or
3x3 outputs.

The values are those of polynomials at the points 0, +-sqrt(1/2), +-sqrt(2) and infinity, which lose fewer digits than
small integers: errors are about five times those of a direct convolution. The points are closed under p -> 1/p, and
rows are scaled by |p|^-(side - 1)/2. So the transform of a mirrored kernel is that of the kernel in another order, for
4x4 kernels with other signs where p is negative, and gradients of the input reuse the transformed weights.
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
_MIRRORED_POINT_ORDER = [5, 3, 4, 1, 2, 0]  # index of 1/p for each point p
_TILES_PER_CHUNK = (
    128  # transformed at a time: enough for matrix products, few enough for the cache
)


@dataclass(frozen=True)
class WinogradTransforms:
    """Matrices of the algorithm, which apply to rows and to columns alike.

    Attributes:
        input_transform: (6, 6), from pixels to values at the points.
        output_transform: (tile side, 6), from values to outputs.
        kernel_transform: (6, kernel side), from weights to values.
    """

    input_transform: Tensor
    output_transform: Tensor
    kernel_transform: Tensor

    @property
    def tile_side(self) -> int:
        """Outputs of a patch, per row."""
        return len(self.output_transform)

    @property
    def kernel_side(self) -> int:
        """Weights of a kernel, per row."""
        return self.kernel_transform.shape[1]


@lru_cache
def get_winograd_transforms(
    kernel_side: int, dtype: torch.dtype, device: torch.device, is_mirrored: bool = False
) -> WinogradTransforms:
    """Return the matrices for a kernel.

    Args:
        kernel_side: 3 or 4.
        dtype: Type of the matrices.
        device: Device of the matrices.
        is_mirrored: Whether the kernel to use is the mirrored one of that which was transformed.
    """
    points = torch.tensor(_FINITE_POINTS, dtype=torch.float64)
    lengths = torch.tensor([1.0, *map(abs, _FINITE_POINTS[1:]), 1.0], dtype=torch.float64)[:, None]
    scales = lengths ** (-(kernel_side - 1) / 2)

    def evaluate_powers(n_powers: int) -> Tensor:
        """Return the values of the powers below n_powers at all points: (6, n_powers)."""
        at_infinity = F.one_hot(torch.tensor([n_powers - 1]), n_powers)
        return torch.cat([points[:, None] ** torch.arange(n_powers), at_infinity])

    output_transform = evaluate_powers(_PATCH_SIDE - kernel_side + 1).T
    kernel_transform = evaluate_powers(kernel_side) * scales
    input_transform = torch.linalg.inv(evaluate_powers(_PATCH_SIDE)).T / scales
    if is_mirrored:
        signs = F.pad(points.sign()[1:, None], (0, 0, 1, 1), value=1.0) ** (kernel_side - 1)
        input_transform = (input_transform * signs)[_MIRRORED_POINT_ORDER]
        output_transform = output_transform[:, _MIRRORED_POINT_ORDER]
    matrices = (input_transform, output_transform, kernel_transform)
    return WinogradTransforms(*(matrix.to(device, dtype).contiguous() for matrix in matrices))


def _apply_2d(matrix: Tensor, x: Tensor) -> Tensor:
    """Apply a matrix (m, n) to rows and columns of x (n * n, ...): (m * m, flattened rest).

    A matrix that makes x smaller is applied to columns first, so that the second product is the smaller one.
    """
    m, n = matrix.shape
    if m < n:
        columns = torch.matmul(matrix, x.reshape(n, n, -1))
        return (matrix @ columns.view(n, -1)).view(m * m, -1)
    rows = (matrix @ x.reshape(n, -1)).view(m, n, -1)
    return torch.matmul(matrix, rows).flatten(0, 1)


@lru_cache(maxsize=64)
def _compute_patch_indices(height: int, width: int, tile_side: int, device: torch.device) -> Tensor:
    """Return the pixel index, in a map (height * width), of each element of each patch.

    Patches that reach beyond the map repeat its border, for outputs that are cropped.

    Returns:
        (6, 6, rows of tiles, tiles in a row).
    """

    def compute_positions(length: int) -> Tensor:
        first = torch.arange(0, length - (_PATCH_SIDE - tile_side), tile_side, device=device)
        return (first + torch.arange(_PATCH_SIDE, device=device)[:, None]).clamp(max=length - 1)

    rows, columns = compute_positions(height), compute_positions(width)
    return rows[:, None, :, None] * width + columns[None, :, None, :]


def _iter_transformed_patches(
    x: Tensor, transforms: WinogradTransforms
) -> Iterator[tuple[int, slice, Tensor]]:
    """Transform all patches of x (N, H, W, C), chunk by chunk.

    Yields:
        Index of the sample, its rows of tiles in the chunk, and the values (36, tiles, C) of their patches.
    """
    _, height, width, channels = x.shape
    indices = _compute_patch_indices(height, width, transforms.tile_side, x.device)
    rows_per_chunk = max(1, _TILES_PER_CHUNK // indices.shape[3])
    for n, pixels in enumerate(x.flatten(1, 2)):
        for top in range(0, indices.shape[2], rows_per_chunk):
            rows = slice(top, top + rows_per_chunk)
            patches = pixels.index_select(0, indices[:, :, rows].flatten())
            values = _apply_2d(transforms.input_transform, patches)
            yield n, rows, values.view(_PATCH_SIDE * _PATCH_SIDE, -1, channels)


def _convolve(
    x: Tensor,
    transformed_weight: Tensor,
    transforms: WinogradTransforms,
    bias: Tensor | None = None,
) -> Tensor:
    """Convolve x (N, H, W, C) with transformed weights (36, C, O): (N, H - side + 1, W - side + 1, O)."""
    batch, tile = len(x), transforms.tile_side
    height, width = (length - transforms.kernel_side + 1 for length in x.shape[1:3])
    tile_rows, tiles_per_row = -(-height // tile), -(-width // tile)
    channels = transformed_weight.shape[2]
    y = x.new_empty(batch, tile_rows, tile, tiles_per_row, tile, channels)
    for n, rows, values in _iter_transformed_patches(x, transforms):
        tiles = _apply_2d(transforms.output_transform, torch.bmm(values, transformed_weight))
        tiles = tiles.view(tile, tile, -1, tiles_per_row, channels).permute(2, 0, 3, 1, 4)
        torch.add(tiles, 0.0 if bias is None else bias, out=y[n, rows])
    y = y.view(batch, tile_rows * tile, tiles_per_row * tile, channels)
    return y[:, :height, :width].contiguous()


def _compute_weight_grad(x: Tensor, grad: Tensor, transforms: WinogradTransforms) -> Tensor:
    """Return the gradient (O, C, side, side) of the weight.

    Args:
        x: Padded input (N, H, W, C).
        grad: Gradient (N, H - side + 1, W - side + 1, O) of the output.
        transforms: Matrices for the kernel.
    """
    tile, side = transforms.tile_side, transforms.kernel_side
    height, width = (-(-length // tile) * tile for length in grad.shape[1:3])
    padded = F.pad(grad, (0, 0, 0, width - grad.shape[2], 0, height - grad.shape[1]))
    tiles = padded.unflatten(1, (-1, tile)).unflatten(3, (-1, tile))
    total: Tensor | None = None
    for n, rows, values in _iter_transformed_patches(x, transforms):
        grad_tiles = tiles[n, rows].permute(1, 3, 0, 2, 4).reshape(tile * tile, -1)
        grad_values = _apply_2d(transforms.output_transform.T, grad_tiles)
        grad_values = grad_values.view(_PATCH_SIDE * _PATCH_SIDE, -1, grad.shape[3]).mT
        if total is None:
            total = torch.bmm(grad_values, values)
        else:
            total.baddbmm_(grad_values, values)
    assert total is not None
    weight_grad = _apply_2d(transforms.kernel_transform.T, total.flatten(1))
    return weight_grad.view(side, side, *total.shape[1:]).permute(2, 3, 0, 1).contiguous()


def transform_weight(weight: Tensor) -> Tensor:
    """Transform a weight (O, C, side, side) to (36, O, C).

    For 3x3 kernels it is four times as large, so that training keeps it only until the backward pass.
    """
    transforms = get_winograd_transforms(weight.shape[-1], weight.dtype, weight.device)
    kernel_transform_2d = torch.kron(transforms.kernel_transform, transforms.kernel_transform)
    transformed = kernel_transform_2d @ weight.flatten(2).flatten(0, 1).T
    return transformed.view(-1, *weight.shape[:2])


def winograd_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: int = 0,
    transformed_weight: Tensor | None = None,
) -> Tensor:
    """Compute F.conv2d(x, weight, bias, padding=padding), channels_last. Differentiable once.

    Args:
        x: (N, C, H, W).
        weight: (O, C, side, side), with a side of 3 or 4.
        bias: (O,).
        padding: Less than the side.
        transformed_weight: `transform_weight(weight)`, used where the weight needs no gradient.
    """
    needs_weight_grad = torch.is_grad_enabled() and weight.requires_grad
    y = _WinogradConv2d.apply(
        x,
        weight.view_as(weight),  # not a leaf, for `_is_grad_requested`
        bias,
        padding,
        None if needs_weight_grad else transformed_weight,
    )
    return y.permute(0, 3, 1, 2)


def _is_grad_requested(node: Any, index: int) -> bool:
    """Return whether this backward pass needs the gradient of an input, which is no leaf.

    `needs_input_grad` is true for every input that requires a gradient. The generator's backward pass through the
    discriminators would then compute gradients of their weights too.
    """
    input_node = node.next_functions[index][0]
    return input_node is not None and torch._C._will_engine_execute_node(input_node)


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
        transforms = get_winograd_transforms(weight.shape[-1], x.dtype, x.device)
        if transformed_weight is None:
            transformed_weight = transform_weight(weight)
        ctx.save_for_backward(x, transformed_weight)
        ctx.side, ctx.padding = weight.shape[-1], padding
        return _convolve(_pad_to_nhwc(x, padding), transformed_weight.mT, transforms, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, transformed_weight = ctx.saved_tensors
        transforms = get_winograd_transforms(ctx.side, x.dtype, x.device)
        mirrored_transforms = get_winograd_transforms(ctx.side, x.dtype, x.device, True)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_padding = transforms.kernel_side - 1 - ctx.padding
            padded_grad = _pad_to_nhwc(grad.permute(0, 3, 1, 2), grad_padding)
            grad_x = _convolve(padded_grad, transformed_weight, mirrored_transforms)
            grad_x = grad_x.permute(0, 3, 1, 2)
        if _is_grad_requested(ctx, 1):
            grad_weight = _compute_weight_grad(_pad_to_nhwc(x, ctx.padding), grad, transforms)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 1, 2))
        return grad_x, grad_weight, grad_bias, None, None


def _pad_to_nhwc(x: Tensor, padding: int) -> Tensor:
    """Convert (N, C, H, W) to (N, H + 2 padding, W + 2 padding, C), padded by zeros."""
    pixels = x.permute(0, 2, 3, 1).contiguous()
    if not padding:
        return pixels
    return F.pad(pixels, (0, 0, padding, padding, padding, padding))
