"""Multiply-accumulates, counted layer by layer in the plain way: on shapes alone, so any size is quick."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.networks.blocks import build_pyramid
from models.networks.generators import GeneratorConfig, build_generator
from scripts.benchmarks.reference_implementation import (
    ReferenceGenerator,
    get_contiguous_state_dict,
    reference_generate_frame,
)

_MAC_PARTS = ("first convs", "downs", "trunk", "ups", "heads")


def classify_conv(layer: str, kernel_size: int) -> str:
    """Where a convolution of the generator belongs. side: of its kernel."""
    if "final" in layer:
        return "heads"
    if "conv_block" in layer:
        return "trunk"
    if kernel_size == 7:
        return "first convs"
    return "ups" if "_up" in layer else "downs"


@dataclass
class MacCountingGenerator(ReferenceGenerator):
    """counted: multiply-accumulates by part."""

    macs_by_part: Counter[str] = field(default_factory=Counter)

    def conv2d(self, layer: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        made = super().conv2d(layer, x, stride, padding)
        self.count_macs(layer, made)
        return made

    def conv_transpose2d(self, layer: str, x: Tensor) -> Tensor:
        self.count_macs(layer, x)
        return super().conv_transpose2d(layer, x)

    def count_macs(self, layer: str, positions: Tensor) -> None:
        """pixels: where the whole kernel works once for each position, the smaller side of a strided layer."""
        weight = self.weights[f"{layer}.weight"]
        self.macs_by_part[classify_conv(layer, weight.shape[-1])] += (
            weight.numel() * positions[:, 0].numel()
        )


def count_frame_macs(config: GeneratorConfig, size: tuple[int, int]) -> dict[str, int]:
    """Of one frame of `size` (w, h), by part."""
    counted: Counter[str] = Counter()
    with torch.device("meta"):
        networks = build_generator(config)
        plain = [
            MacCountingGenerator(
                get_contiguous_state_dict(network), scale, config.foreground, counted
            )
            for scale, network in enumerate(networks)
        ]
        width, height = size
        condition = torch.empty(
            1, config.n_frames_G, config.condition_channels + config.n_features, height, width
        )
        images = torch.empty(1, config.n_frames_G - 1, config.image_channels, height, width)
        reference_generate_frame(
            plain,
            build_pyramid(condition, len(plain)),
            build_pyramid(images, len(plain)),
            False,
            len(plain),
        )
    return {part: counted[part] for part in _MAC_PARTS}


def count_parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())
