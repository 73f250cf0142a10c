"""The 7x7 convolution of one-hot maps without the maps: sums of weight vectors, looked up by label.

Forward and backward pass are embedding bags. In the forward pass, a bag is a pixel and holds the (frame, tap, code)
triples of its window, or the (frame, code) pairs where each frame of the window has a single code. In the backward
pass, a bag is such a triple and holds the pixels whose window has that code there. A code is a label, or a label with
an edge bit. On a GPU, without gradients, a Triton kernel does the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from tqdm import tqdm

from models.ops.label_conv_triton import (
    LABEL_KERNEL_SIDE,
    TRITON_ERRORS,
    is_label_conv_triton_supported,
    label_conv2d_triton,
    triton,
)

_PIXELS_PER_STRIP = 2**15  # whose windows are listed at a time, so that the lists stay in the cache
_ROWS_PER_BAND = 16  # whose gradients are summed first: long sums of float32 lose digits


def label_conv2d(label_codes: Tensor, table: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the bias plus the sum over frames and taps of `table[frame, tap, code]`, reflected at the borders.

    Differentiable once, in table and bias, where it is not compiled.

    Args:
        label_codes: (B, T, H, W) integers in 0..count-1, with H and W of at least 4.
        table: (T, 49, count, O).
        bias: (O,), of the table's type.

    Returns:
        (B, O, H, W), channels_last.
    """
    n_taps = LABEL_KERNEL_SIDE * LABEL_KERNEL_SIDE
    assert table.shape[:2] == (label_codes.shape[1], n_taps)
    assert min(label_codes.shape[2:]) > LABEL_KERNEL_SIDE // 2
    if torch.compiler.is_compiling():
        return _label_conv2d_op(label_codes, table, bias)
    needs_grad = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in (table, bias)
    )
    if is_label_conv_triton_supported(table) and not needs_grad:
        return label_conv2d_triton(label_codes, table, bias)
    sums = _LabelConv2d.apply(table, _reflect_pad(label_codes.int()))
    return sums if bias is None else sums + bias[:, None, None]


@torch.library.custom_op("vid2vid::label_sum", mutates_args=())
def _label_conv2d_op(label_codes: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
    """Run `label_conv2d` as one opaque operation: compilers cannot trace work that depends on the codes."""
    return label_conv2d(label_codes, table, bias)


@_label_conv2d_op.register_fake
def _(label_codes: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
    batch, _, height, width = label_codes.shape
    return table.new_empty(batch, height, width, table.shape[3]).permute(0, 3, 1, 2)


@cache
def is_label_conv_kernel_usable(device: torch.device) -> bool:
    """Return whether the Triton kernel runs on a GPU and computes the right sums.

    It is tried once, on a small map and whole numbers. A failure is reported on stderr.
    """
    if triton is None:
        return False
    codes = torch.zeros(1, 2, 24, 24, dtype=torch.int32)
    codes[..., :5, :5] = torch.arange(25).view(5, 5) % 3
    table = (torch.arange(2 * 49 * 3 * 128) % 7.0).view(2, 49, 3, 128)
    try:
        sums = label_conv2d_triton(codes.to(device), table.to(device)).cpu()
        if torch.equal(sums, label_conv2d(codes, table)):
            return True
        reason = "wrong sums"
    except TRITON_ERRORS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    tqdm.write(
        f"warning: label maps become one-hot on {device}, which takes longer: the kernel that avoids it failed "
        f"({reason})",
        file=sys.stderr,
    )
    return False


def _reflect_pad(label_codes: Tensor) -> Tensor:
    """Add 3 mirrored rows and columns on each side. By indexing, as torch cannot pad integers by reflection."""
    margin = LABEL_KERNEL_SIDE // 2
    for axis in (-2, -1):
        side = label_codes.shape[axis]
        positions = torch.arange(-margin, side + margin, device=label_codes.device).abs()
        mirrored = torch.minimum(positions, 2 * (side - 1) - positions)
        label_codes = label_codes.index_select(axis, mirrored)
    return label_codes


def _find_mixed_windows(label_codes: Tensor) -> Tensor:
    """Return the indices, in h * w, of the pixels in whose windows codes change; there may be others among them.

    Args:
        label_codes: (T, h + 6, w + 6) of one clip.
    """
    changes = torch.zeros(label_codes.shape[1:], device=label_codes.device)
    changes[:, :-1][(label_codes[:, :, 1:] != label_codes[:, :, :-1]).any(0)] = 1
    changes[:-1][(label_codes[:, 1:] != label_codes[:, :-1]).any(0)] = 1
    in_row = F.max_pool2d(changes[None], (1, LABEL_KERNEL_SIDE), stride=1)
    in_window = F.max_pool2d(in_row, (LABEL_KERNEL_SIDE, 1), stride=1)
    return in_window.flatten().nonzero().squeeze(1)


def _get_table_rows(label_codes: Tensor, n_codes: int, pixels: Tensor) -> Tensor:
    """Return, for each pixel, the rows (len(pixels), T * 49) of a table flattened over (frame, tap, code).

    Args:
        label_codes: (T, h + 6, w + 6) of one clip.
        n_codes: Number of codes.
        pixels: Indices in h * w.
    """
    windows = label_codes.unfold(1, LABEL_KERNEL_SIDE, 1).unfold(2, LABEL_KERNEL_SIDE, 1)
    windows = windows.permute(1, 2, 0, 3, 4)
    width = windows.shape[1]
    n_rows = windows[0, 0].numel() * n_codes
    first_rows = torch.arange(
        0, n_rows, n_codes, dtype=label_codes.dtype, device=label_codes.device
    )
    return windows[pixels // width, pixels % width].flatten(1).add_(first_rows)


def _convolve_strip(label_codes: Tensor, table: Tensor, tap_sums: Tensor) -> Tensor:
    """Return the sums (h * w, O) of a strip of one clip.

    Args:
        label_codes: (T, h + 6, w + 6).
        table: (T, 49, count, O).
        tap_sums: (T, count, O), the table summed over taps: the sums of windows with one code in each frame, as most
            windows of a label map are.
    """
    n_codes = tap_sums.shape[1]
    n_rows = tap_sums.shape[0] * n_codes
    inner = slice(LABEL_KERNEL_SIDE // 2, -(LABEL_KERNEL_SIDE // 2))
    first_rows = torch.arange(
        0, n_rows, n_codes, dtype=label_codes.dtype, device=label_codes.device
    )
    centers = label_codes[:, inner, inner].flatten(1).T + first_rows
    sums = F.embedding_bag(centers.contiguous(), tap_sums.flatten(0, 1), mode="sum")
    pixels = _find_mixed_windows(label_codes)
    if len(pixels):
        rows = _get_table_rows(label_codes, n_codes, pixels)
        sums[pixels] = F.embedding_bag(rows, table.flatten(0, 2), mode="sum")
    return sums


class _LabelConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, label_codes: Tensor) -> Tensor:
        ctx.save_for_backward(label_codes)
        ctx.n_codes = table.shape[2]
        border = LABEL_KERNEL_SIDE - 1
        batch, _, padded_height, padded_width = label_codes.shape
        height, width, outputs = padded_height - border, padded_width - border, table.shape[3]
        sums = table.new_empty(batch, height, width, outputs)
        rows_per_strip, tap_sums = max(1, _PIXELS_PER_STRIP // width), table.sum(1)
        for clip_codes, clip_sums in zip(label_codes, sums, strict=True):
            for top in range(0, height, rows_per_strip):
                strip = clip_codes[:, top : top + rows_per_strip + border]
                strip_sums = _convolve_strip(strip, table, tap_sums)
                clip_sums[top : top + rows_per_strip] = strip_sums.view(-1, width, outputs)
        return sums.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (label_codes,) = ctx.saved_tensors
        border = LABEL_KERNEL_SIDE - 1
        padded_grad = F.pad(grad.permute(0, 2, 3, 1), (0, 0, border, border, border, border))
        table_grads = [
            torch.cat(list(_compute_table_grad(frame_codes, padded_grad, ctx.n_codes)))
            for frame_codes in label_codes.unbind(1)
        ]
        return torch.stack(table_grads), None


def _compute_table_grad(label_codes: Tensor, padded_grad: Tensor, n_codes: int) -> Iterator[Tensor]:
    """Compute the gradient of one frame's table.

    Args:
        label_codes: (B, h + 6, w + 6) of the frame.
        padded_grad: Gradients (B, h + 12, w + 12, O) of the sums, padded by zeros.
        n_codes: Number of codes.

    Yields:
        (7, count, O) for each row of taps.
    """
    device, outputs = label_codes.device, padded_grad.shape[3]
    batch, height, width = label_codes.shape
    n_bags = (
        -(-batch * height // _ROWS_PER_BAND) * n_codes
    )  # one for each code in each band of rows
    bands = torch.arange(batch * height, device=device) // _ROWS_PER_BAND
    keys = ((bands * n_codes).view(batch, height, 1) + label_codes).flatten()
    order = keys.argsort(stable=True)
    offsets = F.pad(keys.bincount(minlength=n_bags).cumsum(0)[:-1], (1, 0))
    tap_offsets = torch.arange(0, LABEL_KERNEL_SIDE * len(order), len(order), device=device)
    offsets = (offsets + tap_offsets[:, None]).flatten()
    clip, y, x = order // (height * width), order // width % height, order % width
    last = LABEL_KERNEL_SIDE - 1
    padded_height, padded_width = padded_grad.shape[1:3]
    # the pixel for which each code is at the first tap
    first_tap_pixel = (clip * padded_height + y + last) * padded_width + x + last
    tap_columns = torch.arange(LABEL_KERNEL_SIDE, device=device)[:, None]
    for tap_row in range(LABEL_KERNEL_SIDE):
        pixels = (first_tap_pixel - tap_row * padded_width - tap_columns).flatten()
        sums = F.embedding_bag(pixels, padded_grad.flatten(0, 2), offsets, mode="sum")
        yield sums.view(LABEL_KERNEL_SIDE, -1, n_codes, outputs).sum(1)
