"""What a training page shows of a window: its newest frame."""

from __future__ import annotations

import numpy as np

from models.generators import Frame
from models.objectives import Window
from util.flow_color import flow_picture
from util.pictures import to_uint8, weight_picture


def visuals(window: Window) -> dict[str, np.ndarray]:
    """Of the first clip, name -> (H, W, 3) uint8. Without flow networks their flow and weight are left out."""
    frames, reference = window.frames, window.reference
    shown = {"generated": to_uint8(frames.picture[0, -1]), "raw": to_uint8(frames.raw[0, -1]),
             "real": to_uint8(window.real[0, -1])}
    return shown | motion_visuals(frames) | {"reference_flow": flow_picture(reference.flow[0, -1]),
                                             "confidence": weight_picture(reference.confidence[0, -1, 0])}


def motion_visuals(frames: Frame) -> dict[str, np.ndarray]:
    """Learned flow and weight of the newest frame, where there are any."""
    if frames.flow is None or frames.weight is None:
        return {}
    return {"flow": flow_picture(frames.flow[0, -1]), "weight": weight_picture(frames.weight[0, -1, 0])}
