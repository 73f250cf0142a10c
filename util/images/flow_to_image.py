"""Flow as an image, in the Middlebury colours (Baker et al., A Database and Evaluation Methodology for Optical Flow,
IJCV 2011): hue is the direction, saturation the length, white stands still."""

from __future__ import annotations

import numpy as np
from torch import Tensor

# Corner colours of the wheel from right by way of down, and how many hues lead to the next: more where eyes tell more.
_COLOR_WHEEL_CORNERS = {
    (1, 0, 0): 15,
    (1, 1, 0): 6,
    (0, 1, 0): 4,
    (0, 1, 1): 11,
    (0, 0, 1): 13,
    (1, 0, 1): 6,
}
_OUT_OF_RANGE_BRIGHTNESS = 0.75  # brightness of vectors longer than the radius


def flow_to_image(flow: Tensor, max_radius: float | None = None) -> np.ndarray:
    """(2, H, W) pixels -> (H, W, 3) uint8 RGB.

    max_radius: length in pixels of full saturation, longer ones are darkened; None: the image's own longest.
    """
    x, y = flow.detach().float().cpu().numpy()
    length = np.hypot(x, y)
    radius = (length / max(max_radius or float(length.max()), 1e-6))[..., None]
    hue = _direction_to_color(x, y)
    return (
        255 * np.where(radius <= 1, 1 - radius * (1 - hue), _OUT_OF_RANGE_BRIGHTNESS * hue)
    ).astype(np.uint8)


def _direction_to_color(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(H, W, 3) in [0, 1]: the wheel's colour in each direction, between its hues in proportion."""
    wheel = _make_color_wheel()
    turns = (np.arctan2(-y, -x) / np.pi + 1) / 2  # 0 is right, 1/4 down
    hues = np.arange(len(wheel))
    return np.stack([np.interp(turns * hues[-1], hues, channel) for channel in wheel.T], axis=-1)


def _make_color_wheel() -> np.ndarray:
    """(55, 3) in [0, 1]."""
    corners = np.array([*_COLOR_WHEEL_CORNERS, (1, 0, 0)], float)
    arcs = zip(corners, corners[1:], _COLOR_WHEEL_CORNERS.values(), strict=False)
    return np.concatenate(
        [start + (end - start) * np.arange(hues)[:, None] / hues for start, end, hues in arcs]
    )
