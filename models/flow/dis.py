"""OpenCV's Dense Inverse Search: a reference flow that needs no weights and no GPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from models.flow.estimator import FlowEstimator
from util.errors import UserError

_MIN_IMAGE_SIDE = 12  # OpenCV's patches do not fit smaller images


class DISFlowEstimator(FlowEstimator):
    """DIS flow, preset MEDIUM, between grey images (SPEC 9). Picklable: runs in the loader's workers too."""

    name = "dis"
    version = f"medium, OpenCV {cv2.__version__}"
    is_worker_safe = True

    def estimate(self, current: Tensor, previous: Tensor) -> Tensor:
        pairs = zip(to_gray_array(current), to_gray_array(previous), strict=True)
        return torch.from_numpy(np.stack([estimate_dis_flow(*pair) for pair in pairs])).to(
            current.device
        )


def estimate_dis_flow(current: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """Backward flow (2, H, W) float32 of two grey images (H, W) uint8. UserError when they are too small."""
    if min(current.shape) < _MIN_IMAGE_SIDE:
        height, width = current.shape
        raise UserError(
            f"images of {width}x{height} are too small for --flow_net dis (smallest side {_MIN_IMAGE_SIDE}): "
            "use a larger --loadSize or --fineSize, or --flow_net none"
        )
    return _get_dis().calc(current, previous, None).transpose(2, 0, 1)


def to_gray_array(images: Tensor) -> np.ndarray:
    """(N, 3, H, W) in [-1, 1] -> (N, H, W) uint8."""
    levels = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255)
    rgb = levels.byte().permute(0, 2, 3, 1).cpu().numpy()
    return np.stack(
        [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in rgb]
    )


@cache
def _get_dis() -> (
    Any
):  # its stubs demand a first guess, which it takes for one. Kept: its buffers are half the cost
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
