"""FlowNetC's correlation and its Triton kernel."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.flow.correlation import correlation
from models.flow.correlation_triton import correlation_triton
from tests.kernels import TRITON_DEVICE, needs_gpu, needs_triton

CASE = Path(__file__).parents[2] / "parity/flownet2/case.npz"
SETTINGS = [
    ((2, 5, 6, 7), 2, 1),
    ((1, 3, 9, 70), 4, 2),
    ((1, 4, 5, 11), 7, 3),
    ((1, 2, 3, 4), 9, 2),
    ((1, 6, 4, 5), 0, 1),
]


def make_random_maps(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    maps = torch.randn(2, *shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    return maps[0], maps[1]


def correlate_by_definition(
    a: torch.Tensor, b: torch.Tensor, max_displacement: int, stride: int
) -> torch.Tensor:
    """Compute one displacement and one pixel at a time."""
    n, _, height, width = a.shape
    radius = max_displacement // stride
    offsets = [stride * k for k in range(-radius, radius + 1)]
    out = torch.zeros(n, len(offsets) ** 2, height, width)
    for channel, (dy, dx) in enumerate(itertools.product(offsets, offsets)):
        for y in range(max(0, -dy), min(height, height - dy)):
            for x in range(max(0, -dx), min(width, width - dx)):
                out[:, channel, y, x] = (a[:, :, y, x] * b[:, :, y + dy, x + dx]).mean(1)
    return out


@pytest.mark.parametrize(("shape", "max_displacement", "stride"), SETTINGS)
def test_matches_its_definition(shape: tuple[int, ...], max_displacement: int, stride: int) -> None:
    a, b = make_random_maps(shape)
    expected = correlate_by_definition(a, b, max_displacement, stride)
    torch.testing.assert_close(
        correlation(a, b, max_displacement, stride), expected, atol=1e-6, rtol=1e-5
    )


def test_matches_the_flownet2_release() -> None:
    case = {name: torch.from_numpy(values) for name, values in np.load(CASE).items()}
    out = correlation(case["corr_a"], case["corr_b"], 20, 2)
    assert (out - case["corr"]).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("shape", "max_displacement", "stride"), [((2, 3, 4, 5), 2, 1), ((1, 2, 5, 7), 4, 2)]
)
def test_gradients(shape: tuple[int, ...], max_displacement: int, stride: int) -> None:
    a, b = (maps.requires_grad_() for maps in make_random_maps(shape, torch.float64))
    assert torch.autograd.gradcheck(
        lambda x, y: correlation(x, y, max_displacement, stride), (a, b)
    )


def test_gradients_across_blocks() -> None:
    """Compare with autograd through shifted copies, for rows longer than a block."""
    a, b = (maps.requires_grad_() for maps in make_random_maps((1, 2, 3, 90), torch.float64))
    padded = torch.nn.functional.pad(b, (4, 4, 4, 4))
    shifts = [(dy, dx) for dy in range(0, 9, 2) for dx in range(0, 9, 2)]
    naive = torch.stack(
        [(a * padded[..., dy : dy + 3, dx : dx + 90]).mean(1) for dy, dx in shifts], 1
    )
    weights = torch.randn(
        naive.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    expected = torch.autograd.grad((naive * weights).sum(), (a, b))
    result = torch.autograd.grad((correlation(a, b, 4, 2) * weights).sum(), (a, b))
    torch.testing.assert_close(result, expected)


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor created inside the context."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(
                    self.numel, tensor.untyped_storage().nbytes() // tensor.element_size()
                )
        return result


def test_memory_does_not_grow_with_displacements() -> None:
    """441 shifted copies would hold 441 x 64 channels; the output alone has 441."""
    a, b = make_random_maps((1, 64, 16, 32))
    with LargestTensor() as largest:
        out = correlation(a, b, 20, 2)
    assert largest.numel <= out.numel()


def check_kernel(
    shape: tuple[int, ...], max_displacement: int, stride: int, dtype: torch.dtype
) -> None:
    a, b = (maps.to(dtype) for maps in make_random_maps(shape))
    out = correlation_triton(
        a.to(TRITON_DEVICE), b.to(TRITON_DEVICE), max_displacement // stride, stride
    )
    expected = correlation(a.float(), b.float(), max_displacement, stride)
    rounding = {torch.float32: 1e-4, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
    assert out.dtype == dtype
    torch.testing.assert_close(out.cpu().float(), expected, atol=1e-6, rtol=rounding)


@needs_triton
@pytest.mark.filterwarnings(
    "ignore:Conversion of an array:DeprecationWarning"
)  # inside the interpreter
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("shape", "max_displacement", "stride"), SETTINGS)
def test_triton_matches_pytorch(
    shape: tuple[int, ...], max_displacement: int, stride: int, dtype: torch.dtype
) -> None:
    check_kernel(shape, max_displacement, stride, dtype)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_triton_matches_pytorch_at_flownet2_size(dtype: torch.dtype) -> None:
    check_kernel((2, 64, 32, 130), 20, 2, dtype)
