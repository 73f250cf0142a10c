"""Tests of util/images/flow_to_image.py."""

import numpy as np
import torch

from util.images.flow_to_image import flow_to_image
from util.runtime.torchvision_compat import import_torchvision


def vector_color(x: float, y: float, max_radius: float | None = 1.0) -> list[int]:
    return flow_to_image(torch.tensor([x, y]).reshape(2, 1, 1), max_radius)[0, 0].tolist()


def test_known_vectors() -> None:
    assert vector_color(0, 0) == [255, 255, 255]
    # Right: either end of the wheel, red or the hue before it.
    assert vector_color(1, 0) in ([255, 0, 0], [255, 0, 42])
    assert vector_color(0, 1) == [255, 229, 0]  # down: 13.5 of the 15 hues from red to yellow
    red, green, blue = vector_color(-1, 0)
    assert red == 0 and green > blue / 2 and blue == 255  # left: from cyan towards blue
    assert vector_color(0, 0.5) == [255, 242, 127]  # half the length, half the saturation
    assert vector_color(0, 2) == [191, 172, 0]  # out of range: darker


def test_longest_vector_is_saturated_by_default() -> None:
    flow = torch.zeros(2, 1, 2)
    flow[1, 0, 1] = 8
    assert flow_to_image(flow)[0, 1].tolist() == vector_color(0, 1)
    assert flow_to_image(flow, max_radius=16)[0, 1].tolist() == vector_color(0, 0.5)


def test_matches_torchvision() -> None:
    flow = torch.randn(2, 32, 48, generator=torch.Generator().manual_seed(0))
    torchvision = import_torchvision()
    expected = torchvision.utils.flow_to_image(flow).permute(1, 2, 0).numpy().astype(int)
    difference = np.abs(flow_to_image(flow).astype(int) - expected)
    assert difference.max() <= 2  # torchvision rounds its color wheel to 8 bits
