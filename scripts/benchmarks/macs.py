"""Multiply-accumulates of the generator, counted on shapes alone (meta tensors), so any size is quick."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.networks.blocks import build_pyramid
from models.networks.generators import GeneratorConfig, build_generator
from scripts.benchmarks.reference_implementation import (
    ReferenceGenerator,
    get_contiguous_state_dict,
    reference_generate_frame,
)

_MAC_PARTS = ("first convs", "downs", "trunk", "ups", "heads")


def classify_conv(layer: str, kernel_size: int) -> str:
    """Return the part of the generator that a convolution belongs to, by its key."""
    if "final" in layer:
        return "heads"
    if "conv_block" in layer:
        return "trunk"
    if kernel_size == 7:
        return "first convs"
    return "ups" if "_up" in layer else "downs"


@dataclass
class MacCountingGenerator(ReferenceGenerator):
    """A generator that counts the multiply-accumulates of its convolutions.

    Attributes:
        macs_by_part: The counts, by part.
    """

    macs_by_part: Counter[str] = field(default_factory=Counter)

    def conv2d(self, layer: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        y = super().conv2d(layer, x, stride, padding)
        self.count_macs(layer, y)
        return y

    def conv_transpose2d(self, layer: str, x: Tensor) -> Tensor:
        self.count_macs(layer, x)
        return super().conv_transpose2d(layer, x)

    def count_macs(self, layer: str, positions: Tensor) -> None:
        """Count one layer.

        Args:
            layer: Key of the convolution.
            positions: A map with one position per application of the kernel: the output of a
                convolution, the input of a transposed one.
        """
        weight = self.weights[f"{layer}.weight"]
        part = classify_conv(layer, weight.shape[-1])
        self.macs_by_part[part] += weight.numel() * positions[:, 0].numel()


def count_frame_macs(config: GeneratorConfig, size: tuple[int, int]) -> dict[str, int]:
    """Count the multiply-accumulates of one frame of `size` (width, height), by part."""
    macs_by_part: Counter[str] = Counter()
    width, height = size
    condition_channels = config.condition_channels + config.n_features
    with torch.device("meta"):
        generators = [
            MacCountingGenerator(
                get_contiguous_state_dict(network), scale, config.foreground, macs_by_part
            )
            for scale, network in enumerate(build_generator(config))
        ]
        condition = torch.empty(1, config.n_frames_G, condition_channels, height, width)
        history = torch.empty(1, config.n_frames_G - 1, config.image_channels, height, width)
        reference_generate_frame(
            generators,
            build_pyramid(condition, len(generators)),
            build_pyramid(history, len(generators)),
            no_warp=False,
            n_trainable=len(generators),
        )
    return {part: macs_by_part[part] for part in _MAC_PARTS}
