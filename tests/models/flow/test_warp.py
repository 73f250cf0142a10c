"""Backward warping."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from models.flow.warp import warp


def make_random_tensor(
    *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def constant_flow(x: float, y: float, height: int, width: int) -> torch.Tensor:
    return torch.tensor([x, y]).reshape(1, 2, 1, 1).expand(1, 2, height, width)


def test_zero_flow_returns_the_image() -> None:
    image = make_random_tensor(2, 3, 7, 11)
    torch.testing.assert_close(warp(image, torch.zeros(2, 2, 7, 11)), image)


@pytest.mark.parametrize(("x", "y"), [(1, 0), (0, 1), (-1, 0), (2, -3)])
def test_integer_flow_reads_neighbors_and_clamps(x: int, y: int) -> None:
    image = make_random_tensor(1, 3, 8, 9)
    rows, columns = (torch.arange(8) + y).clamp(0, 7), (torch.arange(9) + x).clamp(0, 8)
    torch.testing.assert_close(
        warp(image, constant_flow(x, y, 8, 9)), image[:, :, rows][..., columns]
    )


def test_matches_scipy_between_pixels() -> None:
    image, flow = make_random_tensor(1, 2, 12, 10), 3 * make_random_tensor(1, 2, 12, 10, seed=1)
    y, x = np.mgrid[0:12, 0:10]
    positions = [y + flow[0, 1].numpy(), x + flow[0, 0].numpy()]
    expected = np.stack(
        [
            map_coordinates(channel.numpy(), positions, order=1, mode="nearest")
            for channel in image[0]
        ]
    )
    torch.testing.assert_close(
        warp(image, flow)[0], torch.from_numpy(expected), atol=1e-4, rtol=1e-4
    )


def test_gradients() -> None:
    image = make_random_tensor(1, 2, 5, 6, dtype=torch.float64).requires_grad_()
    flow = (0.3 * make_random_tensor(1, 2, 5, 6, seed=1, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(warp, (image, flow))


def test_half_precision_keeps_dtype_and_position() -> None:
    """bfloat16 has no odd integers above 256, so pixel positions of a wide image need a wider dtype."""
    image = torch.arange(600.0).remainder(2).expand(1, 1, 2, 600).to(torch.bfloat16)
    warped = warp(image, constant_flow(1, 0, 2, 600).to(torch.bfloat16))
    assert warped.dtype == torch.bfloat16
    torch.testing.assert_close(warped[..., :-1], image[..., 1:], atol=1e-3, rtol=1e-2)


def test_single_pixel_image() -> None:
    torch.testing.assert_close(
        warp(torch.ones(1, 1, 1, 1), torch.ones(1, 2, 1, 1)), torch.ones(1, 1, 1, 1)
    )
