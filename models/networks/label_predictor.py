"""The network that predicts the next label map from previous ones (paper: future video prediction).

It mirrors the video generator: `flow` warps the previous map, `raw_image` holds newly synthesized content, and
`blend_weight` blends the two. Instead of images, all of them hold label probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from models.flow.warp import warp
from models.networks.blocks import NormKind, blocks, down, head, init_weights, stem, up
from models.networks.generators import GeneratorOutput
from util.distributed.amp import promote_to_float32, run_in_float32

# Pixels that a flow head output of 1 stands for: edges move little between two label maps.
_FLOW_SCALE_PIXELS = 4.0
# Bias before the sigmoid: the untrained blend weight of new content is 5 %.
_INITIAL_BLEND_BIAS = -3.0


@dataclass(frozen=True)
class LabelPredictorConfig:
    """Configuration of a label predictor.

    Attributes:
        label_nc: number of labels.
        n_history: number of previous label maps that the network receives.
        width: channels of the first layer, doubled by each downsampling.
        n_downsample: number of downsampling layers.
        n_blocks: number of residual blocks, encoder and decoder together.
        norm: kind of normalization.
    """

    label_nc: int
    n_history: int = 2
    width: int = 64
    n_downsample: int = 3
    n_blocks: int = 9
    norm: NormKind = "batch"

    @property
    def size_multiple(self) -> int:
        """What height and width must be multiples of."""
        return int(2**self.n_downsample)


class LabelPredictor(nn.Module):
    """An encoder with two decoders: one for label probabilities, one for flow and blend weight."""

    def __init__(self, config: LabelPredictorConfig) -> None:
        super().__init__()
        self.config = config
        kind = config.norm
        widths = [config.width * 2**i for i in range(config.n_downsample + 1)]
        n_decoder_blocks = config.n_blocks // 2
        # The order of construction fixes the random initialization.
        downsampling: list[nn.Module] = []
        for i in range(config.n_downsample):
            downsampling += down(widths[i], widths[i + 1], kind)

        def build_decoder() -> nn.Sequential:
            upsampling: list[nn.Module] = []
            for i in reversed(range(config.n_downsample)):
                upsampling += up(widths[i + 1], widths[i], kind)
            return nn.Sequential(*blocks(n_decoder_blocks, widths[-1], kind), *upsampling)

        self.encoder = nn.Sequential(
            *stem(config.n_history * config.label_nc, config.width, kind),
            *downsampling,
            *blocks(config.n_blocks - n_decoder_blocks, widths[-1], kind),
        )
        self.label_decoder = build_decoder()
        self.flow_decoder = build_decoder()
        self.logits = head(config.width, config.label_nc, None)
        self.flow = head(config.width, 2, None)
        self.weight = head(config.width, 1, nn.Sigmoid())
        init_weights(self)
        self.init_to_repeat_last_map()

    def init_to_repeat_last_map(self) -> None:
        """Initialize the heads to no motion and little new content.

        The untrained network then repeats the last map, which is already a good prediction.
        """
        for stage, bias in ((self.flow, 0.0), (self.weight, _INITIAL_BLEND_BIAS)):
            for key, parameter in stage.named_parameters():
                nn.init.constant_(parameter, bias if key.endswith("bias") else 0.0)

    def forward(self, history: Tensor) -> GeneratorOutput:
        """Predict the next label map.

        Args:
            history: (B, n_history, label_nc, H, W) label probabilities.

        Returns:
            `image` and `raw_image` are the probabilities (B, label_nc, H, W) with and without blending.
        """
        encoded = self.encoder(rearrange(history, "b t n h w -> b (t n) h w"))
        motion = self.flow_decoder(encoded)
        raw = promote_to_float32(self.logits(self.label_decoder(encoded))).softmax(dim=1)
        flow = run_in_float32(self.flow, motion) * _FLOW_SCALE_PIXELS
        weight = run_in_float32(self.weight, motion)
        image = raw * weight + warp(history[:, -1], flow) * (1 - weight)
        return GeneratorOutput(image, raw, flow, weight)


def append_to_history(history: Tensor, newest: Tensor) -> Tensor:
    """Append the newest map (B, N, H, W) to (B, n_history, N, H, W) and drop the oldest."""
    return torch.cat([history[:, 1:], newest.unsqueeze(1)], dim=1)
