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
    TRITON_ERRORS: tuple[type[Exception], ...] = ()
else:  # what a launch raises: of compiling, of the driver and torch, of a C compiler, its result and libraries
    TRITON_ERRORS = (
        TritonError,
        RuntimeError,
        SubprocessError,
        OSError,
        ImportError,
        AssertionError,
    )

LABEL_KERNEL_SIDE = 7  # of a window
_TILE_SIDE = 8
_MAX_CHANNELS_PER_PROGRAM = 128  # of one program, where there are so many


def is_label_conv_triton_supported(table: Tensor) -> bool:
    return (
        triton is not None
        and table.is_cuda
        and table.dtype in (torch.float32, torch.float16, torch.bfloat16)
    )


def label_conv2d_triton(label_codes: Tensor, table: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `models.ops.label_conv.label_conv2d`, not differentiable. Sums in float32, rounded once to the table's precision."""
    (batch, frames, height, width), (count, outputs) = label_codes.shape, table.shape[2:]
    out = table.new_empty(batch, height, width, outputs)
    whole = table.sum(1, dtype=torch.float32)
    first = whole.new_zeros(outputs) if bias is None else bias.float()
    channels = min(_MAX_CHANNELS_PER_PROGRAM, triton.next_power_of_2(outputs))
    grid = (
        triton.cdiv(height, _TILE_SIDE) * triton.cdiv(width, _TILE_SIDE),
        triton.cdiv(outputs, channels),
        batch,
    )
    with torch.cuda.device_of(table):  # Triton launches on the current device
        _label_conv2d_kernel[grid](
            label_codes.contiguous(),
            table.contiguous(),
            whole,
            first,
            out,
            frames,
            height,
            width,
            count,
            outputs,
            SIDE=LABEL_KERNEL_SIDE,
            TILE=_TILE_SIDE,
            AROUND=triton.next_power_of_2(_TILE_SIDE + LABEL_KERNEL_SIDE - 1),
            CHANNELS=channels,
            num_warps=max(1, channels // 16),
        )
    return out.permute(0, 3, 1, 2)


if triton is not None:

    @triton.jit
    def _reflect_index(index, side):  # type: ignore[no-untyped-def]
        index = tl.abs(index)
        return tl.minimum(index, 2 * (side - 1) - index)

    @triton.jit
    def _label_conv2d_kernel(  # type: ignore[no-untyped-def]
        label_codes,
        table,
        tap_sums,
        bias,
        out,
        frames,
        height,
        width,
        n_codes,
        outputs,
        SIDE: tl.constexpr,
        TILE: tl.constexpr,
        AROUND: tl.constexpr,
        CHANNELS: tl.constexpr,
    ):
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
        lines = _reflect_index(
            tl.minimum(top + around, tl.minimum(top + TILE, height) - 1 + reach), height
        )
        columns = _reflect_index(
            tl.minimum(left + around, tl.minimum(left + TILE, width) - 1 + reach), width
        )

        total = tl.zeros((TILE * TILE, CHANNELS), dtype=tl.float32)
        total += tl.load(bias + channel, mask=wanted, other=0.0)[None, :]
        for frame in range(frames):
            plane = label_codes + (clip * frames + frame) * height * width
            seen = tl.load(plane + lines[:, None] * width + columns[None, :])
            lowest, highest = tl.min(tl.min(seen, 1), 0), tl.max(tl.max(seen, 1), 0)
            if lowest == highest:
                row = (frame * n_codes + lowest) * outputs
                total += tl.load(tap_sums + row + channel, mask=wanted, other=0.0)[None, :]
            else:
                for line in range(SIDE):
                    begin = (
                        plane
                        + _reflect_index(tl.minimum(y, height - 1) + line - reach, height) * width
                    )
                    for column in tl.static_range(
                        SIDE
                    ):  # unrolled: the letters of a line are fetched together
                        letter = tl.load(
                            begin + _reflect_index(tl.minimum(x, width - 1) + column - reach, width)
                        )
                        row = (((frame * SIDE + line) * SIDE + column) * n_codes + letter) * outputs
                        total += tl.load(
                            table + row[:, None] + channel[None, :], mask=wanted[None, :], other=0.0
                        ).to(tl.float32)
        place = (clip * height * width + y * width + x)[:, None] * outputs + channel[None, :]
        inside = (y < height) & (x < width)
        tl.store(
            out + place, total.to(out.dtype.element_ty), mask=inside[:, None] & wanted[None, :]
        )
