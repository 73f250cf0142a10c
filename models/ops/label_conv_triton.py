"""The label convolution as one Triton kernel for GPUs.

A program computes 128 channels of a tile of 8x8 pixels. With 3 pixels around it, that is 14x14 codes, which are read
as 16x16, the next power of two, with few more than needed. In most tiles of a label map a frame has a single code. The
49 table rows that every pixel would add are then one row of `tap_sums`. In other tiles a few codes occur, whose rows
repeat from pixel to pixel and stay in the L1 cache. The 64x128 sums take 32 registers of each of 256 threads, so that
two tiles share a multiprocessor: one computes while the other waits for its rows.
"""

from __future__ import annotations

from subprocess import SubprocessError

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
    from triton.errors import TritonError
except ImportError:  # not a CUDA build of torch
    triton = None
    TRITON_ERRORS: tuple[type[Exception], ...] = ()
else:  # errors of a launch: of compilation, the driver, torch, the C compiler and its libraries
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
_MAX_CHANNELS_PER_PROGRAM = 128


def is_label_conv_triton_supported(table: Tensor) -> bool:
    """Return whether the kernel takes this table."""
    return (
        triton is not None
        and table.is_cuda
        and table.dtype in (torch.float32, torch.float16, torch.bfloat16)
    )


def label_conv2d_triton(label_codes: Tensor, table: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `models.ops.label_conv.label_conv2d`, not differentiable.

    Sums are float32, and rounded once to the table's type.
    """
    batch, n_frames, height, width = label_codes.shape
    n_codes, outputs = table.shape[2:]
    out = table.new_empty(batch, height, width, outputs)
    tap_sums = table.sum(1, dtype=torch.float32)
    float_bias = tap_sums.new_zeros(outputs) if bias is None else bias.float()
    channels = min(_MAX_CHANNELS_PER_PROGRAM, triton.next_power_of_2(outputs))
    n_tiles = triton.cdiv(height, _TILE_SIDE) * triton.cdiv(width, _TILE_SIDE)
    grid = (n_tiles, triton.cdiv(outputs, channels), batch)
    with torch.cuda.device_of(table):  # Triton launches on the current device
        _label_conv2d_kernel[grid](
            label_codes.contiguous(),
            table.contiguous(),
            tap_sums,
            float_bias,
            out,
            n_frames,
            height,
            width,
            n_codes,
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
        """Compute one tile.

        Pixels of a tile beyond the border repeat the last ones and are not stored.

        Args:
            label_codes: (B, T, H, W).
            table: (T, SIDE * SIDE, count, O).
            tap_sums: (T, count, O).
            bias: (O,).
            out: (B, H, W, O).
            frames: T.
            height: H.
            width: W.
            n_codes: Number of codes.
            outputs: O.
            SIDE: Side of a window.
            TILE: Side of a tile.
            AROUND: Side of the codes that are read, a power of two.
            CHANNELS: Output channels of a program.
        """
        tiles_per_row = tl.cdiv(width, TILE)
        top = tl.program_id(0) // tiles_per_row * TILE
        left = tl.program_id(0) % tiles_per_row * TILE
        channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
        is_channel = channel < outputs
        clip = tl.program_id(2).to(tl.int64)  # its offsets exceed 32 bits
        pixel = tl.arange(0, TILE * TILE)
        y, x = top + pixel // TILE, left + pixel % TILE
        reach, around = SIDE // 2, tl.arange(0, AROUND) - SIDE // 2
        rows = _reflect_index(
            tl.minimum(top + around, tl.minimum(top + TILE, height) - 1 + reach), height
        )
        columns = _reflect_index(
            tl.minimum(left + around, tl.minimum(left + TILE, width) - 1 + reach), width
        )

        total = tl.zeros((TILE * TILE, CHANNELS), dtype=tl.float32)
        total += tl.load(bias + channel, mask=is_channel, other=0.0)[None, :]
        for frame in range(frames):
            plane = label_codes + (clip * frames + frame) * height * width
            codes = tl.load(plane + rows[:, None] * width + columns[None, :])
            lowest, highest = tl.min(tl.min(codes, 1), 0), tl.max(tl.max(codes, 1), 0)
            if lowest == highest:
                row = (frame * n_codes + lowest) * outputs
                total += tl.load(tap_sums + row + channel, mask=is_channel, other=0.0)[None, :]
            else:
                for tap_row in range(SIDE):
                    code_y = _reflect_index(tl.minimum(y, height - 1) + tap_row - reach, height)
                    row_start = plane + code_y * width
                    for tap_column in tl.static_range(SIDE):  # unrolled: codes are loaded together
                        code_x = _reflect_index(
                            tl.minimum(x, width - 1) + tap_column - reach, width
                        )
                        code = tl.load(row_start + code_x)
                        tap = (frame * SIDE + tap_row) * SIDE + tap_column
                        row = (tap * n_codes + code) * outputs
                        values = tl.load(
                            table + row[:, None] + channel[None, :],
                            mask=is_channel[None, :],
                            other=0.0,
                        )
                        total += values.to(tl.float32)
        offset = (clip * height * width + y * width + x)[:, None] * outputs + channel[None, :]
        is_inside = (y < height) & (x < width)
        mask = is_inside[:, None] & is_channel[None, :]
        tl.store(out + offset, total.to(out.dtype.element_ty), mask=mask)
