"""OpenCV's Dense Inverse Search: a reference flow that needs no weights and no GPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from models.flow.reference import ReferenceFlow
from util.errors import UserError

SMALLEST = 12  # OpenCV's patches do not fit smaller pictures


class Dis(ReferenceFlow):
    """DIS flow, preset MEDIUM, between grey pictures (SPEC 9). Picklable: runs in the loader's workers too."""

    name = "dis"
    version = f"medium, OpenCV {cv2.__version__}"
    runs_in_workers = True

    def vectors(self, current: Tensor, previous: Tensor) -> Tensor:
        pairs = zip(grey(current), grey(previous), strict=True)
        return torch.from_numpy(np.stack([dis_flow(*pair) for pair in pairs])).to(current.device)


def dis_flow(current: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """Backward flow (2, H, W) float32 of two grey pictures (H, W) uint8. UserError when they are too small."""
    if min(current.shape) < SMALLEST:
        height, width = current.shape
        raise UserError(f"pictures of {width}x{height} are too small for --flow_net dis (smallest side {SMALLEST}): "
                        "use a larger --loadSize or --fineSize, or --flow_net none")
    return _estimator().calc(current, previous, None).transpose(2, 0, 1)


def grey(pictures: Tensor) -> np.ndarray:
    """(N, 3, H, W) in [-1, 1] -> (N, H, W) uint8."""
    levels = ((pictures.detach().float() + 1) * 127.5).round().clamp(0, 255)
    rgb = levels.byte().permute(0, 2, 3, 1).cpu().numpy()
    return np.stack([cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY) for picture in rgb])


@cache
def _estimator() -> Any:  # its stubs demand a first guess, which it takes for one. Kept: its buffers are half the cost
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
