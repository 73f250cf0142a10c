"""What a training page shows of a window: its newest frame."""

from __future__ import annotations

import numpy as np

from models.losses.vid2vid import GeneratedWindow
from models.networks.generators import GeneratorOutput
from util.images.flow_to_image import flow_to_image
from util.images.visualization import tensor_to_image, weight_map_to_image


def make_visuals(window: GeneratedWindow) -> dict[str, np.ndarray]:
    """Of the first clip, name -> (H, W, 3) uint8. Without flow networks their flow and weight are left out."""
    frames, reference = window.output, window.reference_flow
    shown = {
        "generated": tensor_to_image(frames.image[0, -1]),
        "raw": tensor_to_image(frames.raw_image[0, -1]),
        "real": tensor_to_image(window.real[0, -1]),
    }
    return (
        shown
        | make_flow_visuals(frames)
        | {
            "reference_flow": flow_to_image(reference.flow[0, -1]),
            "confidence": weight_map_to_image(reference.confidence[0, -1, 0]),
        }
    )


def make_flow_visuals(output: GeneratorOutput) -> dict[str, np.ndarray]:
    """Learned flow and weight of the newest frame, where there are any."""
    if output.flow is None or output.blend_weight is None:
        return {}
    return {
        "flow": flow_to_image(output.flow[0, -1]),
        "weight": weight_map_to_image(output.blend_weight[0, -1, 0]),
    }
