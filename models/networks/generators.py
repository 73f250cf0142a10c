"""The sequential multi-scale generator (paper, section 3; SPEC 6): a coarse network and refining ones.

Each paints one frame: `raw` from scratch, and by `flow` from the previous image; `weight` chooses between them.
Attribute names are the published state-dict keys.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.flow.warp import warp
from models.networks.blocks import (
    NormKind,
    blocks,
    checkpoint_stage,
    down,
    head,
    init_weights,
    stem,
    up,
)
from models.networks.sparse_labels import Condition, SparseOneHot
from models.ops.dispatch import reference_ops, to_channels_last
from util.distributed.amp import promote_to_float32, run_in_float32

FLOW_SCALE = 20.0  # pixels that a flow head's output of 1 stands for, at the coarsest scale


@dataclass(frozen=True)
class GeneratorConfig:
    """condition_channels: of one frame, one-hot labels and instance edge together; n_features: of the feature maps that
    follow them, 0 for none. foreground: the label ids that a separate hourglass paints; empty for none. flow: whether
    images are composed with the warped previous one. checkpoint: whether activations are computed again on the way
    back instead of being kept."""

    condition_channels: int
    image_channels: int = 3
    n_frames_G: int = 3
    width: int = 128
    n_downsample: int = 3
    n_blocks: int = 9
    n_blocks_local: int = 3
    n_scales: int = 1
    norm: NormKind = "batch"
    flow: bool = True
    foreground: tuple[int, ...] = ()
    n_features: int = 0
    checkpoint_activations: bool = False

    @property
    def size_multiple(self) -> int:
        """What height and width of the finest images must divide by."""
        return 2 ** (self.n_downsample + self.n_scales - 1)


@dataclass(frozen=True)
class FeatureMaps:
    """Feature maps (B, C, h, w) right before the heads; the next finer network adds them to its own."""

    image: Tensor
    flow: Tensor | None
    foreground: Tensor | None


@dataclass(frozen=True)
class GeneratorOutput:
    """A generated frame (B, C, H, W), or several (B, T, C, H, W).

    image, raw: 3 channels in [-1, 1]. flow: 2 channels, pixels, backward. weight: 1 channel in [0, 1], the share of
    `raw` in `image`. flow and weight are None in networks without flow.
    """

    image: Tensor
    raw_image: Tensor
    flow: Tensor | None
    blend_weight: Tensor | None

    def apply(self, fn: Callable[[Tensor], Tensor]) -> GeneratorOutput:
        """With every tensor changed."""
        return GeneratorOutput(
            fn(self.image),
            fn(self.raw_image),
            None if self.flow is None else fn(self.flow),
            None if self.blend_weight is None else fn(self.blend_weight),
        )

    @staticmethod
    def stack(outputs: list[GeneratorOutput]) -> GeneratorOutput:
        """(B, C, H, W) frames in time order to one of (B, T, C, H, W)."""
        return GeneratorOutput._join(outputs, torch.stack)

    @staticmethod
    def concatenate(outputs: list[GeneratorOutput]) -> GeneratorOutput:
        """(B, T, C, H, W) runs of frames in time order to one."""
        return outputs[0] if len(outputs) == 1 else GeneratorOutput._join(outputs, torch.cat)

    @staticmethod
    def _join(outputs: list[GeneratorOutput], join_fn: Callable[..., Tensor]) -> GeneratorOutput:
        def joined(name: str) -> Tensor | None:
            parts = [getattr(frame, name) for frame in outputs]
            return None if parts[0] is None else join_fn(parts, dim=1)

        return GeneratorOutput(
            *(joined(name) for name in ("image", "raw_image", "flow", "blend_weight"))  # type: ignore[arg-type]
        )


class CompositeGeneratorBase(nn.Module):
    """Heads that coarse and refining networks share: from feature maps to a frame."""

    model_down_img: nn.Sequential
    indv_final: nn.Sequential  # where there is a foreground

    def __init__(self, config: GeneratorConfig, scale: int) -> None:
        super().__init__()
        self.config = config
        self.width = config.width // 2**scale
        self.flow_scale = FLOW_SCALE * 2**scale

    def run_stage(self, stage: nn.Sequential, x: Condition) -> Tensor:
        """stage(x), of which only x is kept for the way back where `checkpoint` asks for it."""
        return checkpoint_stage(stage, x) if self.config.checkpoint_activations else stage(x)

    def encode_previous_images(self, previous: Tensor, no_warp: bool) -> Tensor:
        """The images before, encoded. Before a `no_warp` frame they may be black, and every map constant. (Compiled
        programs are plain anyway, and cannot be told.)"""
        with reference_ops() if no_warp and not torch.compiler.is_compiling() else nullcontext():
            return self.run_stage(self.model_down_img, self.merge_time_into_channels(previous))

    def merge_time_into_channels(self, frames: Condition) -> Condition:
        """(B, T, C, h, w) -> (B, T * C, h, w); label maps stack themselves."""
        return (
            frames
            if isinstance(frames, SparseOneHot)
            else to_channels_last(frames.flatten(1, 2), self.width)
        )

    def add_image_head(self) -> None:
        self.model_final_img = head(self.width, self.config.image_channels, nn.Tanh())

    def add_flow_heads(self) -> None:
        self.model_final_flow = head(self.width, 2, None)
        self.model_final_w = head(self.width, 1, nn.Sigmoid())

    def compose(
        self, features: FeatureMaps, condition: Condition, previous: Tensor, no_warp: bool
    ) -> GeneratorOutput:
        """condition: (B, tG, C, h, w); previous: (B, tG-1, 3, h, w)."""
        image = raw = promote_to_float32(self.model_final_img(features.image))
        flow = weight = None
        if features.flow is not None:
            flow = run_in_float32(self.model_final_flow, features.flow) * self.flow_scale
            weight = run_in_float32(self.model_final_w, features.flow)
            if not no_warp:
                image = raw * weight + warp(previous[:, -1], flow) * (1 - weight)
        if features.foreground is not None:
            foreground = promote_to_float32(self.indv_final(features.foreground))
            mask = get_label_mask(condition, self.config.foreground)
            image, raw = (foreground * mask + x * (1 - mask) for x in (image, raw))
        return GeneratorOutput(image, raw, flow, weight)


def get_label_mask(condition: Condition, labels: tuple[int, ...]) -> Tensor:
    """(B, 1, h, w): how much of the newest frame has one of the labels."""
    if isinstance(condition, SparseOneHot):
        return condition.mask(labels)
    newest = condition[:, -1]
    return (
        torch.stack([newest[:, label] for label in labels], dim=1).sum(1, keepdim=True).clamp(0, 1)
    )


class CompositeGenerator(CompositeGeneratorBase):
    """G0, the coarsest network."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config, scale=0)
        n, kind = config.n_downsample, config.norm
        conditions = config.n_frames_G * (config.condition_channels + config.n_features)
        images = (config.n_frames_G - 1) * config.image_channels

        def encoder(channels: int, width: int, n_blocks: int) -> nn.Sequential:
            downs = [
                layer for i in range(n) for layer in down(width * 2**i, width * 2 ** (i + 1), kind)
            ]
            return nn.Sequential(
                *stem(channels, width, kind), *downs, *blocks(n_blocks, width * 2**n, kind)
            )

        def decoder(width: int) -> nn.Sequential:
            return nn.Sequential(
                *[
                    layer
                    for i in reversed(range(n))
                    for layer in up(width * 2 ** (i + 1), width * 2**i, kind)
                ]
            )

        if config.foreground:
            width = get_foreground_width(config)
            self.indv_down = encoder(conditions, width, 0)
            self.indv_res = nn.Sequential(*blocks(config.n_blocks, width * 2**n, kind))
            self.indv_up = decoder(width)
            self.indv_final = head(width, config.image_channels, nn.Tanh())
        width, half = self.width, config.n_blocks // 2
        self.model_down_seg = encoder(conditions, width, config.n_blocks - half)
        self.model_down_img = encoder(images, width, config.n_blocks - half)
        self.model_res_img = nn.Sequential(*blocks(half, width * 2**n, kind))
        self.model_up_img = decoder(width)
        self.add_image_head()
        if config.flow:
            self.model_res_flow = nn.Sequential(*blocks(half, width * 2**n, kind))
            self.model_up_flow = decoder(width)
            self.add_flow_heads()

    def forward(
        self, condition: Condition, previous: Tensor, no_warp: bool
    ) -> tuple[GeneratorOutput, FeatureMaps]:
        """condition: (B, tG, C, h, w); previous: (B, tG-1, 3, h, w) -> the frame and its features."""
        stacked = self.merge_time_into_channels(condition)
        trunk = self.run_stage(self.model_down_seg, stacked) + self.encode_previous_images(
            previous, no_warp
        )
        features = FeatureMaps(
            image=self.run_stage(self.model_up_img, self.run_stage(self.model_res_img, trunk)),
            flow=(
                self.run_stage(self.model_up_flow, self.run_stage(self.model_res_flow, trunk))
                if self.config.flow
                else None
            ),
            foreground=(
                self.run_stage(
                    self.indv_up,
                    self.run_stage(self.indv_res, self.run_stage(self.indv_down, stacked)),
                )
                if self.config.foreground
                else None
            ),
        )
        return self.compose(features, condition, previous, no_warp), features


class CompositeLocalGenerator(CompositeGeneratorBase):
    """G1, G2, ...: refines at twice the size of the network below, whose features it adds to its own."""

    def __init__(self, config: GeneratorConfig, scale: int) -> None:
        super().__init__(config, scale)
        kind = config.norm
        conditions = config.n_frames_G * (config.condition_channels + config.n_features)
        images = (config.n_frames_G - 1) * config.image_channels

        def encoder(channels: int, width: int) -> nn.Sequential:
            return nn.Sequential(*stem(channels, width, kind), *down(width, 2 * width, kind))

        def decoder(width: int) -> nn.Sequential:
            return nn.Sequential(
                *blocks(config.n_blocks_local, 2 * width, kind), *up(2 * width, width, kind)
            )

        if config.foreground:
            width = get_foreground_width(config) // 2**scale
            self.indv_down = encoder(conditions, width)
            self.indv_up = decoder(width)
            self.indv_final = head(width, config.image_channels, nn.Tanh())
        width = self.width
        self.model_down_seg = encoder(conditions, width)
        self.model_down_img = encoder(images, width)
        self.model_up_img = decoder(width)
        self.add_image_head()
        if config.flow:
            self.model_up_flow = decoder(width)
            self.add_flow_heads()

    def forward(
        self, condition: Condition, previous: Tensor, no_warp: bool, coarse: FeatureMaps
    ) -> tuple[GeneratorOutput, FeatureMaps]:
        """condition: (B, tG, C, h, w); previous: (B, tG-1, 3, h, w); coarse: maps of half the size after one down."""
        stacked = self.merge_time_into_channels(condition)
        trunk = self.run_stage(self.model_down_seg, stacked) + self.encode_previous_images(
            previous, no_warp
        )
        features = FeatureMaps(
            image=self.run_stage(self.model_up_img, trunk + coarse.image),
            flow=None
            if coarse.flow is None
            else self.run_stage(self.model_up_flow, trunk + coarse.flow),
            foreground=(
                None
                if coarse.foreground is None
                else self.run_stage(
                    self.indv_up, self.run_stage(self.indv_down, stacked) + coarse.foreground
                )
            ),
        )
        return self.compose(features, condition, previous, no_warp), features


def get_foreground_width(config: GeneratorConfig) -> int:
    """The coarsest foreground hourglass is half as wide where it goes down far."""
    return config.width // 2 if config.n_downsample > 2 else config.width


def build_generator(config: GeneratorConfig) -> nn.ModuleList:
    """G0, G1, ...: the coarsest first."""
    refining = [CompositeLocalGenerator(config, scale) for scale in range(1, config.n_scales)]
    networks = nn.ModuleList([CompositeGenerator(config), *refining])
    init_weights(networks)
    return networks
