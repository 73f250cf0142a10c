"""The 7x7 convolution of one-hot maps without the maps: sums of weight vectors, looked up by label.

Both ways are embedding bags. Forward, a bag is a pixel and holds the (frame, tap, letter) triples of its window, or the
(frame, letter) pairs where a window holds one letter in each frame; on the way back, a bag is such a triple and holds
the pixels whose window has that letter there. A letter is a label, or a label with an edge bit. On a GPU, where nobody
learns, a kernel of its own does the same.
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

_PIXELS_PER_STRIP = (
    2**15
)  # pixels whose windows are listed at a time, so that the lists stay in cache
_LINES_PER_BAND = 16  # lines whose gradients are summed first: long sums of float32 lose digits


def label_conv2d(label_codes: Tensor, table: Tensor, bias: Tensor | None = None) -> Tensor:
    """The bias and the sum over frames and taps of `table[frame, tap, letter there]`, reflected at the borders.

    letters: (B, T, H, W) integers in 0..count-1, sides of at least 4. table: (T, 49, count, O). bias: (O,), of the
    table's precision. Returns (B, O, H, W), channels last. Differentiable once, in table and bias, where it is not
    compiled.
    """
    assert (
        table.shape[:2] == (label_codes.shape[1], LABEL_KERNEL_SIDE * LABEL_KERNEL_SIDE)
        and min(label_codes.shape[2:]) > LABEL_KERNEL_SIDE // 2
    )
    if torch.compiler.is_compiling():
        return _label_conv2d_op(label_codes, table, bias)
    learns = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in (table, bias)
    )
    if is_label_conv_triton_supported(table) and not learns:
        return label_conv2d_triton(label_codes, table, bias)
    sums = _LabelConv2d.apply(table, _reflect_pad(label_codes.int()))
    return sums if bias is None else sums + bias[:, None, None]


@torch.library.custom_op("vid2vid::label_sum", mutates_args=())
def _label_conv2d_op(label_codes: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
    """For compilers, which look into everything else: here the work depends on the letters."""
    return label_conv2d(label_codes, table, bias)


@_label_conv2d_op.register_fake
def _(letters: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
    batch, _, height, width = letters.shape
    return table.new_empty(batch, height, width, table.shape[3]).permute(0, 3, 1, 2)


@cache
def is_label_conv_kernel_usable(device: torch.device) -> bool:
    """Whether a GPU can have the kernel: Triton is here, finds a driver and a C compiler, and its sums are right. Tried
    once, on a small map and whole numbers; what fails is said on stderr."""
    if triton is None:
        return False
    letters, table = (
        torch.zeros(1, 2, 24, 24, dtype=torch.int32),
        torch.arange(2 * 49 * 3 * 128) % 7.0,
    )
    letters[..., :5, :5], table = torch.arange(25).view(5, 5) % 3, table.view(2, 49, 3, 128)
    try:
        if torch.equal(
            label_conv2d_triton(letters.to(device), table.to(device)).cpu(),
            label_conv2d(letters, table),
        ):
            return True
        reason = "wrong sums"
    except TRITON_ERRORS as fault:
        reason = " ".join(f"{type(fault).__name__}: {fault}".split())[:200]
    tqdm.write(
        f"warning: label maps become one-hot on {device}, which takes longer: the kernel that spares it failed "
        f"({reason})",
        file=sys.stderr,
    )
    return False


def _reflect_pad(label_codes: Tensor) -> Tensor:
    """3 mirrored lines and columns on each side; by indexing, as integers have no padding of their own."""
    for axis in (-2, -1):
        side = label_codes.shape[axis]
        places = torch.arange(
            -(LABEL_KERNEL_SIDE // 2), side + LABEL_KERNEL_SIDE // 2, device=label_codes.device
        ).abs()
        label_codes = label_codes.index_select(axis, torch.minimum(places, 2 * (side - 1) - places))
    return label_codes


def _find_mixed_windows(label_codes: Tensor) -> Tensor:
    """(T, h + 6, w + 6) of one clip -> numbers of the pixels, of h * w, in whose windows letters change; others may be
    among them."""
    changes = torch.zeros(label_codes.shape[1:], device=label_codes.device)
    changes[:, :-1][(label_codes[:, :, 1:] != label_codes[:, :, :-1]).any(0)] = 1
    changes[:-1][(label_codes[:, 1:] != label_codes[:, :-1]).any(0)] = 1
    wide = F.max_pool2d(changes[None], (1, LABEL_KERNEL_SIDE), stride=1)
    return F.max_pool2d(wide, (LABEL_KERNEL_SIDE, 1), stride=1).flatten().nonzero().squeeze(1)


def _get_table_rows(label_codes: Tensor, n_codes: int, pixels: Tensor) -> Tensor:
    """(T, h + 6, w + 6) of one clip -> (len(pixels), T * 49): each pixel's rows of a table (frame, tap, letter)."""
    windows = (
        label_codes.unfold(1, LABEL_KERNEL_SIDE, 1)
        .unfold(2, LABEL_KERNEL_SIDE, 1)
        .permute(1, 2, 0, 3, 4)
    )
    width = windows.shape[1]
    first = torch.arange(
        0,
        windows[0, 0].numel() * n_codes,
        n_codes,
        dtype=label_codes.dtype,
        device=label_codes.device,
    )
    return windows[pixels // width, pixels % width].flatten(1).add_(first)


def _convolve_strip(label_codes: Tensor, table: Tensor, tap_sums: Tensor) -> Tensor:
    """(T, h + 6, w + 6) of one clip -> (h * w, O). whole: (T, count, O), the table summed over taps: what a window
    gives that holds one letter in each frame, as most of a label map's do."""
    inner = slice(LABEL_KERNEL_SIDE // 2, -(LABEL_KERNEL_SIDE // 2))
    first = torch.arange(
        0,
        tap_sums.shape[0] * tap_sums.shape[1],
        tap_sums.shape[1],
        dtype=label_codes.dtype,
        device=label_codes.device,
    )
    centres = label_codes[:, inner, inner].flatten(1).T + first
    sums, pixels = (
        F.embedding_bag(centres.contiguous(), tap_sums.flatten(0, 1), mode="sum"),
        _find_mixed_windows(label_codes),
    )
    if len(pixels):
        rows = _get_table_rows(label_codes, tap_sums.shape[1], pixels)
        sums[pixels] = F.embedding_bag(rows, table.flatten(0, 2), mode="sum")
    return sums


class _LabelConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, label_codes: Tensor) -> Tensor:
        ctx.save_for_backward(label_codes)
        ctx.count = table.shape[2]
        batch, height, width = (
            len(label_codes),
            label_codes.shape[2] - LABEL_KERNEL_SIDE + 1,
            label_codes.shape[3] - LABEL_KERNEL_SIDE + 1,
        )
        sums = table.new_empty(batch, height, width, table.shape[3])
        lines, whole = max(1, _PIXELS_PER_STRIP // width), table.sum(1)
        for clip, out in zip(label_codes, sums, strict=True):
            for top in range(0, height, lines):
                found = _convolve_strip(
                    clip[:, top : top + lines + LABEL_KERNEL_SIDE - 1], table, whole
                )
                out[top : top + lines] = found.view(-1, width, table.shape[3])
        return sums.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (letters,) = ctx.saved_tensors
        border = LABEL_KERNEL_SIDE - 1
        bordered = F.pad(grad.permute(0, 2, 3, 1), (0, 0, border, border, border, border))
        frames = [
            torch.cat(list(_compute_table_grad(frame, bordered, ctx.count)))
            for frame in letters.unbind(1)
        ]
        return torch.stack(frames), None


def _compute_table_grad(label_codes: Tensor, padded_grad: Tensor, n_codes: int) -> Iterator[Tensor]:
    """letters: (B, h + 6, w + 6) of one frame. bordered: gradients (B, h + 12, w + 12, O), zeros around. Yields the
    table's gradient, (7, count, O), for one line of taps after the other."""
    batch, height, width = label_codes.shape
    lines = torch.arange(batch * height, device=label_codes.device)
    keys = ((lines // _LINES_PER_BAND * n_codes).view(batch, height, 1) + label_codes).flatten()
    order, bags = keys.argsort(stable=True), -(-batch * height // _LINES_PER_BAND) * n_codes
    begins = F.pad(keys.bincount(minlength=bags).cumsum(0)[:-1], (1, 0))
    begins = (
        begins
        + torch.arange(0, LABEL_KERNEL_SIDE * len(order), len(order), device=label_codes.device)[
            :, None
        ]
    )
    clip, y, x = order // (height * width), order // width % height, order % width
    wide = padded_grad.shape[2]
    last = (
        (clip * padded_grad.shape[1] + y + LABEL_KERNEL_SIDE - 1) * wide + x + LABEL_KERNEL_SIDE - 1
    )  # the pixel whose first tap this is
    steps = torch.arange(LABEL_KERNEL_SIDE, device=label_codes.device)[:, None]
    for line in range(LABEL_KERNEL_SIDE):
        places = (last - line * wide - steps).flatten()
        sums = F.embedding_bag(places, padded_grad.flatten(0, 2), begins.flatten(), mode="sum")
        yield sums.view(LABEL_KERNEL_SIDE, -1, n_codes, padded_grad.shape[3]).sum(1)
