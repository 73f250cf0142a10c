"""The sum of weight vectors by label as one kernel for GPUs, where Triton is installed.

A program makes 128 channels of a tile of 8x8 pixels. With 3 pixels around it that is 14x14 letters, of which few more
than asked for are read as 16x16, the next power of two. In most tiles of a label map a frame holds one letter there,
and the 49 rows of the table that every pixel would take are one row of `whole`. In others few letters meet, whose rows
repeat from pixel to pixel and stay in the nearest cache. The 64x128 sums take 32 registers of each of 256 threads,
which lets two tiles share a multiprocessor: one works while the other waits for its rows.
"""

from __future__ import annotations

from subprocess import SubprocessError

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
    from triton.errors import TritonError
except ImportError:  # no CUDA build of torch: nothing to run it on either
    triton = None
    FAULTS: tuple[type[Exception], ...] = ()
else:  # what a launch raises: of compiling, of the driver and torch, of a C compiler, its result and libraries
    FAULTS = (TritonError, RuntimeError, SubprocessError, OSError, ImportError, AssertionError)

SIDE = 7  # of a window
TILE = 8
CHANNELS = 128  # of one program, where there are so many


def triton_takes(table: Tensor) -> bool:
    return triton is not None and table.is_cuda and table.dtype in (torch.float32, torch.float16, torch.bfloat16)


def label_sum_triton(letters: Tensor, table: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `models.fast.label_sum.label_sum`, not differentiable. Sums in float32, rounded once to the table's precision.
    """
    (batch, frames, height, width), (count, outputs) = letters.shape, table.shape[2:]
    out = table.new_empty(batch, height, width, outputs)
    whole = table.sum(1, dtype=torch.float32)
    first = whole.new_zeros(outputs) if bias is None else bias.float()
    channels = min(CHANNELS, triton.next_power_of_2(outputs))
    grid = (triton.cdiv(height, TILE) * triton.cdiv(width, TILE), triton.cdiv(outputs, channels), batch)
    with torch.cuda.device_of(table):  # Triton launches on the current device
        _label_sum_kernel[grid](letters.contiguous(), table.contiguous(), whole, first, out, frames, height, width,
                                count, outputs, SIDE=SIDE, TILE=TILE, AROUND=triton.next_power_of_2(TILE + SIDE - 1),
                                CHANNELS=channels, num_warps=max(1, channels // 16))
    return out.permute(0, 3, 1, 2)


if triton is not None:

    @triton.jit
    def _mirrored(place, side):  # type: ignore[no-untyped-def]
        place = tl.abs(place)
        return tl.minimum(place, 2 * (side - 1) - place)

    @triton.jit
    def _label_sum_kernel(letters, table, whole, bias, out, frames, height, width, count, outputs,  # type: ignore
                          SIDE: tl.constexpr, TILE: tl.constexpr, AROUND: tl.constexpr, CHANNELS: tl.constexpr):
        """letters: (B, T, H, W). table: (T, SIDE * SIDE, count, O). whole: (T, count, O). bias: (O,).
        out: (B, H, W, O). Of tiles that the border cuts, places beyond it repeat the last ones and are not stored."""
        across = tl.cdiv(width, TILE)
        top, left = tl.program_id(0) // across * TILE, tl.program_id(0) % across * TILE
        channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
        wanted = channel < outputs
        clip = tl.program_id(2).to(tl.int64)  # whose offsets exceed 32 bits
        pixel = tl.arange(0, TILE * TILE)
        y, x = top + pixel // TILE, left + pixel % TILE
        reach, around = SIDE // 2, tl.arange(0, AROUND) - SIDE // 2
        lines = _mirrored(tl.minimum(top + around, tl.minimum(top + TILE, height) - 1 + reach), height)
        columns = _mirrored(tl.minimum(left + around, tl.minimum(left + TILE, width) - 1 + reach), width)

        total = tl.zeros((TILE * TILE, CHANNELS), dtype=tl.float32)
        total += tl.load(bias + channel, mask=wanted, other=0.0)[None, :]
        for frame in range(frames):
            plane = letters + (clip * frames + frame) * height * width
            seen = tl.load(plane + lines[:, None] * width + columns[None, :])
            lowest, highest = tl.min(tl.min(seen, 1), 0), tl.max(tl.max(seen, 1), 0)
            if lowest == highest:
                row = (frame * count + lowest) * outputs
                total += tl.load(whole + row + channel, mask=wanted, other=0.0)[None, :]
            else:
                for line in range(SIDE):
                    begin = plane + _mirrored(tl.minimum(y, height - 1) + line - reach, height) * width
                    for column in tl.static_range(SIDE):  # unrolled: the letters of a line are fetched together
                        letter = tl.load(begin + _mirrored(tl.minimum(x, width - 1) + column - reach, width))
                        row = (((frame * SIDE + line) * SIDE + column) * count + letter) * outputs
                        total += tl.load(table + row[:, None] + channel[None, :], mask=wanted[None, :],
                                         other=0.0).to(tl.float32)
        place = (clip * height * width + y * width + x)[:, None] * outputs + channel[None, :]
        inside = (y < height) & (x < width)
        tl.store(out + place, total.to(out.dtype.element_ty), mask=inside[:, None] & wanted[None, :])
