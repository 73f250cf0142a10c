"""Images of a training window for the training page and TensorBoard: its last frame."""

from __future__ import annotations

import numpy as np

from models.losses.vid2vid import GeneratedWindow
from models.networks.generators import GeneratorOutput
from util.images.flow_to_image import flow_to_image
from util.images.visualization import gray_to_rgb, tensor_to_image


def make_visuals(window: GeneratedWindow) -> dict[str, np.ndarray]:
    """Return images (H, W, 3) uint8 of the first clip, by name."""
    output, reference_flow = window.output, window.reference_flow
    return {
        "generated": tensor_to_image(output.image[0, -1]),
        "raw": tensor_to_image(output.raw_image[0, -1]),
        "real": tensor_to_image(window.real[0, -1]),
        **make_flow_visuals(output),
        "reference_flow": flow_to_image(reference_flow.flow[0, -1]),
        "confidence": gray_to_rgb(reference_flow.confidence[0, -1, 0]),
    }


def make_flow_visuals(output: GeneratorOutput) -> dict[str, np.ndarray]:
    """Return images of the generator's flow and blending weight; empty without flow."""
    if output.flow is None or output.blend_weight is None:
        return {}
    return {
        "flow": flow_to_image(output.flow[0, -1]),
        "weight": gray_to_rgb(output.blend_weight[0, -1, 0]),
    }
