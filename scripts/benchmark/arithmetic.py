"""Multiply-accumulates, counted layer by layer in the plain way: on shapes alone, so any size is quick."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.blocks import pyramid
from models.generators import GeneratorConfig, build_generator
from scripts.plain_way import PlainGenerator, painted_frame, weights_of

PARTS = ("first convs", "downs", "trunk", "ups", "heads")


def part_of(layer: str, side: int) -> str:
    """Where a convolution of the generator belongs. side: of its kernel."""
    if "final" in layer:
        return "heads"
    if "conv_block" in layer:
        return "trunk"
    if side == 7:
        return "first convs"
    return "ups" if "_up" in layer else "downs"


@dataclass
class CountingGenerator(PlainGenerator):
    """counted: multiply-accumulates by part."""

    counted: Counter[str] = field(default_factory=Counter)

    def convolved(self, layer: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        made = super().convolved(layer, x, stride, padding)
        self.count(layer, made)
        return made

    def enlarged(self, layer: str, x: Tensor) -> Tensor:
        self.count(layer, x)
        return super().enlarged(layer, x)

    def count(self, layer: str, pixels: Tensor) -> None:
        """pixels: where the whole kernel works once for each position, the smaller side of a strided layer."""
        weight = self.weights[f"{layer}.weight"]
        self.counted[part_of(layer, weight.shape[-1])] += weight.numel() * pixels[:, 0].numel()


def frame_arithmetic(config: GeneratorConfig, size: tuple[int, int]) -> dict[str, int]:
    """Of one frame of `size` (w, h), by part."""
    counted: Counter[str] = Counter()
    with torch.device("meta"):
        networks = build_generator(config)
        plain = [CountingGenerator(weights_of(network), scale, config.foreground, counted)
                 for scale, network in enumerate(networks)]
        width, height = size
        condition = torch.empty(1, config.n_frames, config.condition_channels + config.n_features, height, width)
        pictures = torch.empty(1, config.n_frames - 1, config.picture_channels, height, width)
        painted_frame(plain, pyramid(condition, len(plain)), pyramid(pictures, len(plain)), False, len(plain))
    return {part: counted[part] for part in PARTS}


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())
