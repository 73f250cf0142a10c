"""Optical flow as a color image, in the Middlebury color code.

Hue is the direction, saturation the length, white is zero flow. Source: Baker et al., A Database
and Evaluation Methodology for Optical Flow, IJCV 2011.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

# Corners of the RGB color wheel, from the direction right over down, left and up, each with the
# number of hues to the next corner: more where the eye distinguishes more.
_COLOR_WHEEL_CORNERS = {
    (1, 0, 0): 15,
    (1, 1, 0): 6,
    (0, 1, 0): 4,
    (0, 1, 1): 11,
    (0, 0, 1): 13,
    (1, 0, 1): 6,
}
_OUT_OF_RANGE_BRIGHTNESS = 0.75  # of vectors longer than the radius


def flow_to_image(flow: Tensor, max_radius: float | None = None) -> np.ndarray:
    """Convert (2, H, W) flow in pixels to a (H, W, 3) uint8 RGB array.

    Args:
        flow: Flow; channel 0 is x, channel 1 is y.
        max_radius: Length in pixels of full saturation; longer vectors are darkened. None: the
            longest vector of this flow.
    """
    x, y = flow.detach().float().cpu().numpy()
    length = np.hypot(x, y)
    radius = max(max_radius or float(length.max()), 1e-6)
    saturation = (length / radius)[..., None]
    hue = _direction_to_color(x, y)
    color = np.where(saturation <= 1, 1 - saturation * (1 - hue), _OUT_OF_RANGE_BRIGHTNESS * hue)
    return (255 * color).astype(np.uint8)


def _direction_to_color(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the fully saturated color of each direction, (H, W, 3) in [0, 1]."""
    wheel = _make_color_wheel()
    turns = (np.arctan2(-y, -x) / np.pi + 1) / 2  # 0 is right, 1/4 down
    indices = np.arange(len(wheel))
    channels = [np.interp(turns * indices[-1], indices, channel) for channel in wheel.T]
    return np.stack(channels, axis=-1)


def _make_color_wheel() -> np.ndarray:
    """Return the 55 hues of the color wheel, (55, 3) in [0, 1]."""
    corners = np.array([*_COLOR_WHEEL_CORNERS, (1, 0, 0)], float)
    arcs = []
    for start, end, n_hues in zip(
        corners[:-1], corners[1:], _COLOR_WHEEL_CORNERS.values(), strict=True
    ):
        arcs.append(start + (end - start) * np.arange(n_hues)[:, None] / n_hues)
    return np.concatenate(arcs)
