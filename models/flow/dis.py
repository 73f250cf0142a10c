"""OpenCV's Dense Inverse Search (Kroeger et al., ECCV 2016): reference flow without weights or GPU."""

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
    """DIS flow with preset MEDIUM between gray images. Picklable, so the data loader's workers can run it."""

    name = "dis"
    version = f"medium, OpenCV {cv2.__version__}"
    is_worker_safe = True

    def estimate(self, current: Tensor, previous: Tensor) -> Tensor:
        """Return the flow, (N, 2, H, W), on the device of `current`."""
        pairs = zip(to_gray_array(current), to_gray_array(previous), strict=True)
        flow = np.stack([estimate_dis_flow(*pair) for pair in pairs])
        return torch.from_numpy(flow).to(current.device)


def estimate_dis_flow(current: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """Return backward flow (2, H, W) float32 between two gray images (H, W) uint8.

    Raises:
        UserError: The images are too small for DIS.
    """
    if min(current.shape) < _MIN_IMAGE_SIDE:
        height, width = current.shape
        raise UserError(
            f"images of {width}x{height} are too small for --flow_net dis (smallest side {_MIN_IMAGE_SIDE}): "
            "use a larger --loadSize or --fineSize, or --flow_net none"
        )
    return _get_dis().calc(current, previous, None).transpose(2, 0, 1)


def to_gray_array(images: Tensor) -> np.ndarray:
    """Convert (N, 3, H, W) in [-1, 1] to (N, H, W) uint8."""
    pixels = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255)
    rgb = pixels.byte().permute(0, 2, 3, 1).cpu().numpy()
    return np.stack(
        [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in rgb]
    )


@cache  # one object a process: allocating its buffers takes half of the time of an estimate
def _get_dis() -> Any:  # OpenCV's type stubs do not allow None as the initial flow of `calc`
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
