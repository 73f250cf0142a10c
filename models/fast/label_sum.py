"""The 7x7 convolution of one-hot maps without the maps: sums of weight vectors, looked up by label.

Both ways are one embedding bag. Forward, a bag is a pixel and holds the (frame, tap, letter) triples of its window; on
the way back, a bag is such a triple and holds the pixels whose window has that letter there. A letter is a label, or a
label with an edge bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

SIDE = 7  # of a window
STRIP = 2**15  # pixels whose windows are listed at a time, so that the lists stay in cache
BAND = 16  # lines whose gradients are summed first: long sums of float32 lose digits


def label_sum(letters: Tensor, table: Tensor) -> Tensor:
    """The sum over frames and taps of `table[frame, tap, letter there]`, reflected at the borders.

    letters: (B, T, H, W) integers in 0..count-1, sides of at least 4. table: (T, 49, count, O). Returns (B, O, H, W),
    channels last. Differentiable once, in the table.
    """
    assert table.shape[:2] == (letters.shape[1], SIDE * SIDE)
    return _LabelSum.apply(table, _reflected(letters.int()))


def _reflected(letters: Tensor) -> Tensor:
    """3 mirrored lines and columns on each side; by indexing, as integers have no padding of their own."""
    for axis in (-2, -1):
        side = letters.shape[axis]
        places = torch.arange(-(SIDE // 2), side + SIDE // 2, device=letters.device).abs()
        letters = letters.index_select(axis, torch.minimum(places, 2 * (side - 1) - places))
    return letters


def _rows(letters: Tensor, count: int) -> Tensor:
    """(T, h + 6, w + 6) of one clip -> (h * w, T * 49): for each pixel the rows of a table (frame, tap, letter)."""
    frames, height, width = letters.shape
    rows = letters.new_empty(height - SIDE + 1, width - SIDE + 1, frames, SIDE, SIDE)
    first = torch.arange(0, frames * SIDE * SIDE * count, count, dtype=letters.dtype, device=letters.device)
    windows = letters.unfold(1, SIDE, 1).unfold(2, SIDE, 1).permute(1, 2, 0, 3, 4)
    torch.add(windows, first.view(rows.shape[2:]), out=rows)
    return rows.flatten(0, 1).flatten(1)


class _LabelSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, letters: Tensor) -> Tensor:
        ctx.save_for_backward(letters)
        ctx.count = table.shape[2]
        batch, height, width = len(letters), letters.shape[2] - SIDE + 1, letters.shape[3] - SIDE + 1
        sums = table.new_empty(batch, height, width, table.shape[3])
        lines = max(1, STRIP // width)
        for clip, out in zip(letters, sums, strict=True):
            for top in range(0, height, lines):
                rows = _rows(clip[:, top:top + lines + SIDE - 1], ctx.count)
                found = F.embedding_bag(rows, table.flatten(0, 2), mode="sum")
                out[top:top + lines] = found.view(-1, width, table.shape[3])
        return sums.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        letters, = ctx.saved_tensors
        border = SIDE - 1
        bordered = F.pad(grad.permute(0, 2, 3, 1), (0, 0, border, border, border, border))
        frames = [torch.cat(list(_frame_gradient(frame, bordered, ctx.count))) for frame in letters.unbind(1)]
        return torch.stack(frames), None


def _frame_gradient(letters: Tensor, bordered: Tensor, count: int) -> Iterator[Tensor]:
    """letters: (B, h + 6, w + 6) of one frame. bordered: gradients (B, h + 12, w + 12, O), zeros around. Yields the
    table's gradient, (7, count, O), for one line of taps after the other."""
    batch, height, width = letters.shape
    lines = torch.arange(batch * height, device=letters.device)
    keys = ((lines // BAND * count).view(batch, height, 1) + letters).flatten()
    order, bags = keys.argsort(stable=True), -(-batch * height // BAND) * count
    begins = F.pad(keys.bincount(minlength=bags).cumsum(0)[:-1], (1, 0))
    begins = begins + torch.arange(0, SIDE * len(order), len(order), device=letters.device)[:, None]
    clip, y, x = order // (height * width), order // width % height, order % width
    wide = bordered.shape[2]
    last = (clip * bordered.shape[1] + y + SIDE - 1) * wide + x + SIDE - 1  # the pixel whose first tap this is
    steps = torch.arange(SIDE, device=letters.device)[:, None]
    for line in range(SIDE):
        places = (last - line * wide - steps).flatten()
        sums = F.embedding_bag(places, bordered.flatten(0, 2), begins.flatten(), mode="sum")
        yield sums.view(SIDE, -1, count, bordered.shape[3]).sum(1)
