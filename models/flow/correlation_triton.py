"""The forward pass of FlowNetC's correlation as one CUDA kernel, if Triton is installed."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # torch without CUDA
    triton = None

_PROGRAM_COLUMNS = 64  # columns computed by one program


def is_correlation_kernel_supported(maps: Tensor) -> bool:
    """Return whether the kernel runs on this device and dtype."""
    return (
        triton is not None
        and maps.is_cuda
        and maps.dtype in (torch.float32, torch.float16, torch.bfloat16)
    )


def correlation_triton(a: Tensor, b: Tensor, radius: int, stride: int) -> Tensor:
    """Compute `models.flow.correlation.correlation` for displacements -radius..radius times `stride`.

    Sums are in float32.
    """
    n, channels, height, width = a.shape
    displacements = 2 * radius + 1
    out = torch.empty(
        n, displacements * displacements, height, width, dtype=a.dtype, device=a.device
    )
    grid = (triton.cdiv(width, _PROGRAM_COLUMNS), height, n * displacements)
    with torch.cuda.device_of(a):  # Triton launches on the current device
        _correlation_kernel[grid](
            a.contiguous(),
            b.contiguous(),
            out,
            channels,
            height,
            width,
            radius,
            stride,
            DISPLACEMENTS=triton.next_power_of_2(displacements),
            BLOCK=_PROGRAM_COLUMNS,
        )
    return out


if triton is not None:

    @triton.jit
    def _correlation_kernel(  # type: ignore[no-untyped-def]
        a,
        b,
        out,
        channels,
        height,
        width,
        radius,
        stride,
        DISPLACEMENTS: tl.constexpr,
        BLOCK: tl.constexpr,
    ):
        """Compute all dx of one row y, one dy and BLOCK columns, so that `a` is read once for all of them."""
        x = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        y = tl.program_id(1)
        count = 2 * radius + 1
        image, row = tl.program_id(2) // count, tl.program_id(2) % count
        y_b = y + (row - radius) * stride
        dx = tl.arange(0, DISPLACEMENTS)
        x_b = x[None, :] + (dx[:, None] - radius) * stride
        is_output = (dx[:, None] < count) & (x[None, :] < width)
        is_inside_b = is_output & (x_b >= 0) & (x_b < width)
        plane = height * width
        start = image.to(tl.int64) * channels * plane
        offset_a, offset_b = start + y * width + x, start + y_b * width + x_b
        total = tl.zeros((DISPLACEMENTS, BLOCK), dtype=tl.float32)
        if (y_b >= 0) & (y_b < height):
            for channel in range(channels):
                values_a = tl.load(a + offset_a + channel * plane, mask=x < width, other=0.0)
                values_b = tl.load(b + offset_b + channel * plane, mask=is_inside_b, other=0.0)
                total += values_a.to(tl.float32)[None, :] * values_b.to(tl.float32)
        offset_out = (
            (image.to(tl.int64) * count * count + row * count + dx[:, None]) * plane
            + y * width
            + x[None, :]
        )
        tl.store(out + offset_out, (total / channels).to(out.dtype.element_ty), mask=is_output)
