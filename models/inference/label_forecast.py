"""Predicting the next label map from those before it (paper, future video prediction), in the generator's own terms.

Where things were a moment ago, `flow` says where they come from; what comes into sight is painted from scratch, `raw`;
`weight` chooses between the two. All of it is about label probabilities instead of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from einops import rearrange
from torch import Tensor, nn

from models.flow.warp import warp
from models.networks.blocks import NormKind, blocks, down, head, init_weights, stem, up
from models.networks.generators import GeneratorOutput
from models.networks.input_encoding import one_hot, pad_clip
from util.clip import Clip
from util.distributed.amp import promote_to_float32, run_in_float32
from util.errors import UserError

_FLOW_SCALE_PIXELS = 4.0  # pixels that the flow head's output of 1 stands for: edges move little from one map to the next
_INITIAL_BLEND_BIAS = (
    -3.0
)  # before the sigmoid: the share that is painted from scratch at first, 5 %


@dataclass(frozen=True)
class LabelPredictorConfig:
    """n_past: label maps that the network sees. width: of the first layer, doubled by each of n_downsample."""

    label_nc: int
    n_history: int = 2
    width: int = 64
    n_downsample: int = 3
    n_blocks: int = 9
    norm: NormKind = "batch"

    @property
    def size_multiple(self) -> int:
        """What height and width must divide by."""
        return int(2**self.n_downsample)


class LabelPredictor(nn.Module):
    """An encoder, then a decoder for the labels and one for how the last map moves on."""

    def __init__(self, config: LabelPredictorConfig) -> None:
        super().__init__()
        self.config = config
        n, width, kind, half = config.n_downsample, config.width, config.norm, config.n_blocks // 2
        downs = [
            layer for i in range(n) for layer in down(width * 2**i, width * 2 ** (i + 1), kind)
        ]

        def decoder() -> nn.Sequential:
            ups = [
                layer
                for i in reversed(range(n))
                for layer in up(width * 2 ** (i + 1), width * 2**i, kind)
            ]
            return nn.Sequential(*blocks(half, width * 2**n, kind), *ups)

        self.encoder = nn.Sequential(
            *stem(config.n_history * config.label_nc, width, kind),
            *downs,
            *blocks(config.n_blocks - half, width * 2**n, kind),
        )
        self.label_decoder, self.flow_decoder = decoder(), decoder()
        self.logits, self.flow = head(width, config.label_nc, None), head(width, 2, None)
        self.weight = head(width, 1, nn.Sigmoid())
        init_weights(self)
        self.init_to_repeat_last_map()

    def init_to_repeat_last_map(self) -> None:
        """No motion, and little painted: fresh weights repeat the last map, which is nearly right already."""
        for stage, bias in ((self.flow, 0.0), (self.weight, _INITIAL_BLEND_BIAS)):
            for key, weights in stage.named_parameters():
                nn.init.constant_(weights, bias if key.endswith("bias") else 0.0)

    def forward(self, history: Tensor) -> GeneratorOutput:
        """(B, n_past, N, H, W) label probabilities -> those of the next map: image and raw are (B, N, H, W)."""
        trunk = self.encoder(rearrange(history, "b t n h w -> b (t n) h w"))
        motion = self.flow_decoder(trunk)
        raw = promote_to_float32(self.logits(self.label_decoder(trunk))).softmax(dim=1)
        flow = run_in_float32(self.flow, motion) * _FLOW_SCALE_PIXELS
        weight = run_in_float32(self.weight, motion)
        return GeneratorOutput(
            raw * weight + warp(history[:, -1], flow) * (1 - weight), raw, flow, weight
        )


def append_to_history(history: Tensor, newest: Tensor) -> Tensor:
    """(B, P, N, H, W) with the newest map (B, N, H, W) in and the oldest out."""
    return torch.cat([history[:, 1:], newest.unsqueeze(1)], dim=1)


@torch.no_grad()
def forecast_labels(predictor: LabelPredictor, history_clips: Sequence[Clip]) -> Iterator[Tensor]:
    """The label maps that follow, (B, 1, 1, H, W) uint8 ids, one after another without end.

    given: the n_past clips (T = 1 each) before them, on the predictor's device. It goes on from its own probabilities,
    not from the labels chosen of them, as it was trained to.
    """
    config = predictor.config
    assert len(history_clips) == config.n_history
    height, width = history_clips[0].condition.shape[-2:]
    past = torch.cat(
        [
            one_hot(pad_clip(clip, config.size_multiple).condition, config.label_nc)
            for clip in history_clips
        ],
        1,
    )
    while True:
        past = append_to_history(past, predictor(past).image)
        yield past[:, -1:, :, :height, :width].argmax(dim=2, keepdim=True).byte()


@dataclass(frozen=True)
class LabelForecaster:
    """Test sequences of which only the beginning is known, for the video network to go on from.

    n_given: frames before the first that the video network paints (tG-1). frames: to predict of each sequence; None: as
    many as it has, and then with their real images, for comparison.
    """

    predictor: LabelPredictor
    n_history: int
    device: torch.device
    n_forecast_frames: int | None = None

    @property
    def n_required_frames(self) -> int:
        """Frames that are needed of a sequence."""
        return max(self.n_history, self.predictor.config.n_history)

    def count_clips(self, available: int, name: str) -> int:
        """Clips that `clips` gives of a sequence. UserError: too few frames to begin from."""
        wanted = self.n_required_frames + (1 if self.n_forecast_frames is None else 0)
        if available < wanted:
            raise UserError(
                f"sequence {name} has {available} frames; --future_labels begins from {self.n_required_frames}, and "
                "the next are to be predicted: add frames, or go beyond the end with --future_frames N"
            )
        return self.n_history + (
            available - self.n_required_frames
            if self.n_forecast_frames is None
            else self.n_forecast_frames
        )

    def forecast_clips(self, sequence: Iterable[Clip]) -> Iterator[Clip]:
        """The last n_given known frames, then predicted ones (B = T = 1): instances are the labels themselves, so that
        there is an edge wherever the label changes."""
        frames = iter(sequence)
        known = list(islice(frames, self.n_required_frames))
        yield from known[self.n_required_frames - self.n_history :]
        last = known[-1]
        later = (
            frames
            if self.n_forecast_frames is None
            else (
                replace(last, image=None, names=((f"future/future_{n:06}",),))
                for n in range(1, self.n_forecast_frames + 1)
            )
        )
        predictions = forecast_labels(
            self.predictor,
            [clip.to(self.device) for clip in known[-self.predictor.config.n_history :]],
        )
        for clip, labels in zip(later, predictions, strict=False):
            ids = labels.to(clip.condition.device)
            yield replace(
                clip, condition=ids, instance=None if clip.instance is None else ids.int()
            )
