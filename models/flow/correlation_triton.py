"""The correlation's forward pass as one CUDA kernel, where Triton is installed."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # no CUDA build of torch: nothing to run it on either
    triton = None

_PROGRAM_COLUMNS = 64  # columns of one program


def is_correlation_kernel_supported(maps: Tensor) -> bool:
    return (
        triton is not None
        and maps.is_cuda
        and maps.dtype in (torch.float32, torch.float16, torch.bfloat16)
    )


def correlation_triton(a: Tensor, b: Tensor, radius: int, stride: int) -> Tensor:
    """As `models.flow.correlation.correlation`, for -radius..radius times stride; sums in float32."""
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
        """One program: one row y, one dy, BLOCK columns, all dx: a is read once for the DISPLACEMENTS sums."""
        x = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        y = tl.program_id(1)
        count = 2 * radius + 1
        image, row = tl.program_id(2) // count, tl.program_id(2) % count
        shifted = y + (row - radius) * stride
        dx = tl.arange(0, DISPLACEMENTS)
        other = x[None, :] + (dx[:, None] - radius) * stride
        wanted = (dx[:, None] < count) & (x[None, :] < width)
        inside = wanted & (other >= 0) & (other < width)
        plane = height * width
        start = image.to(tl.int64) * channels * plane
        at_a, at_b = start + y * width + x, start + shifted * width + other
        total = tl.zeros((DISPLACEMENTS, BLOCK), dtype=tl.float32)
        if (shifted >= 0) & (shifted < height):
            for channel in range(channels):
                left = tl.load(a + at_a + channel * plane, mask=x < width, other=0.0).to(tl.float32)
                right = tl.load(b + at_b + channel * plane, mask=inside, other=0.0).to(tl.float32)
                total += left[None, :] * right
        place = (
            (image.to(tl.int64) * count * count + row * count + dx[:, None]) * plane
            + y * width
            + x[None, :]
        )
        tl.store(out + place, (total / channels).to(out.dtype.element_ty), mask=wanted)
