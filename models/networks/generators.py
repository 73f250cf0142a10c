"""The sequential coarse-to-fine generator (paper, section 3): a coarse network and refining ones.

Each network generates one frame: `raw_image` from scratch, and the previous image warped by `flow`; `blend_weight`
blends the two. Attribute names are the published state-dict keys.

The networks are plain PyTorch and take dense tensors. `models.ops.install` replaces their layers by faster ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.flow.warp import warp
from models.networks.blocks import (
    NormKind,
    blocks,
    channel_counts,
    checkpoint_stage,
    down,
    down_layers,
    head,
    init_weights,
    stem,
    up,
    up_layers,
)
from util.distributed.amp import promote_to_float32, run_in_float32

FLOW_SCALE = 20.0  # at the coarsest scale, an output of 1 of the flow head means 20 pixels


@dataclass(frozen=True)
class GeneratorConfig:
    """Configuration of a generator.

    Attributes:
        condition_channels: Channels of one frame's condition: one-hot labels and instance edge together.
        image_channels: Channels of an image.
        n_frames_G: Frames whose conditions the generator sees: the current one and n_frames_G - 1 before it.
        width: Channels of the coarsest network's first layer at full size.
        n_downsample: Halvings inside the coarsest network.
        n_blocks: Residual blocks on each path through the coarsest network.
        n_blocks_local: Residual blocks of each decoder of a refining network.
        n_scales: Number of networks; each refines at twice the size of the one before.
        norm: Kind of the norms.
        flow: Whether images are blended with the warped previous image.
        foreground: Label ids that a separate hourglass generates; empty for none.
        n_features: Channels of the instance feature maps that follow each condition; 0 for none.
        checkpoint_activations: Whether activations are recomputed in the backward pass instead of being kept.
    """

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
        """Number that height and width of the finest images must be divisible by."""
        return 2 ** (self.n_downsample + self.n_scales - 1)

    @property
    def stacked_condition_channels(self) -> int:
        """Channels of the conditions and features of all frames that a network sees."""
        return self.n_frames_G * (self.condition_channels + self.n_features)

    @property
    def stacked_image_channels(self) -> int:
        """Channels of the previous images that a network sees."""
        return (self.n_frames_G - 1) * self.image_channels


@dataclass(frozen=True)
class FeatureMaps:
    """Feature maps (B, C, h, w) right before the heads, to which the next finer network adds its own."""

    image: Tensor
    flow: Tensor | None
    foreground: Tensor | None


@dataclass(frozen=True)
class GeneratorOutput:
    """A generated frame (B, C, H, W), or several (B, T, C, H, W).

    Attributes:
        image: 3 channels in [-1, 1]: raw_image blended with the warped previous image.
        raw_image: 3 channels in [-1, 1], generated from scratch.
        flow: 2 channels, backward, in pixels; None in networks without flow.
        blend_weight: 1 channel in [0, 1], the share of raw_image in image; None in networks without flow.
    """

    image: Tensor
    raw_image: Tensor
    flow: Tensor | None
    blend_weight: Tensor | None

    def apply(self, fn: Callable[[Tensor], Tensor]) -> GeneratorOutput:
        """Return a copy with fn applied to every tensor."""
        return GeneratorOutput(
            fn(self.image),
            fn(self.raw_image),
            None if self.flow is None else fn(self.flow),
            None if self.blend_weight is None else fn(self.blend_weight),
        )

    @staticmethod
    def stack(outputs: list[GeneratorOutput]) -> GeneratorOutput:
        """Stack frames (B, C, H, W), in time order, to (B, T, C, H, W)."""
        return GeneratorOutput._join(outputs, torch.stack)

    @staticmethod
    def concatenate(outputs: list[GeneratorOutput]) -> GeneratorOutput:
        """Concatenate (B, T, C, H, W) in time order."""
        return outputs[0] if len(outputs) == 1 else GeneratorOutput._join(outputs, torch.cat)

    @staticmethod
    def _join(outputs: list[GeneratorOutput], join_fn: Callable[..., Tensor]) -> GeneratorOutput:
        def join(tensors: list[Tensor | None]) -> Tensor | None:
            return None if tensors[0] is None else join_fn(tensors, dim=1)

        return GeneratorOutput(
            join_fn([output.image for output in outputs], dim=1),
            join_fn([output.raw_image for output in outputs], dim=1),
            join([output.flow for output in outputs]),
            join([output.blend_weight for output in outputs]),
        )


class CompositeGeneratorBase(nn.Module):
    """What the coarse and the refining networks share: stages, heads, and how a frame is composed."""

    takes_sparse_conditions = False  # with `models.ops.install.install_optimized_ops` they do

    model_down_seg: nn.Sequential
    model_down_img: nn.Sequential
    indv_down: nn.Sequential  # indv_*: only in networks with a foreground
    indv_up: nn.Sequential
    indv_final: nn.Sequential

    def __init__(self, config: GeneratorConfig, level: int) -> None:
        super().__init__()
        self.config = config
        self.width = config.width // 2**level
        self.flow_scale = FLOW_SCALE * 2**level

    def add_image_head(self) -> None:
        """Add the head for the raw image."""
        self.model_final_img = head(self.width, self.config.image_channels, nn.Tanh())

    def add_flow_heads(self) -> None:
        """Add the heads for flow and blend weight."""
        self.model_final_flow = head(self.width, 2, None)
        self.model_final_w = head(self.width, 1, nn.Sigmoid())

    @property
    def heads(self) -> list[nn.Sequential]:
        """The last layers of each output."""
        names = ("model_final_img", "model_final_flow", "model_final_w", "indv_final")
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def run_stage(self, stage: nn.Sequential, x: Tensor) -> Tensor:
        """Return stage(x), of which only x is kept for the backward pass with `checkpoint_activations`."""
        return checkpoint_stage(stage, x) if self.config.checkpoint_activations else stage(x)

    def merge_time_into_channels(self, frames: Tensor) -> Tensor:
        """Reshape (B, T, C, h, w) to (B, T * C, h, w)."""
        return frames.flatten(1, 2)

    def encode_previous_images(self, previous: Tensor) -> Tensor:
        """Encode the previous images (B, n_frames_G - 1, 3, h, w)."""
        return self.run_stage(self.model_down_img, self.merge_time_into_channels(previous))

    def decode_foreground(self, stacked_condition: Tensor, coarse: Tensor | None) -> Tensor:
        """Return the foreground's feature maps right before its head.

        Args:
            stacked_condition: Conditions (B, n_frames_G * C, h, w).
            coarse: The foreground's feature maps of the next coarser network, None in the coarsest.
        """
        raise NotImplementedError

    def generate_foreground(self, features: Tensor) -> Tensor:
        """Generate the foreground image (B, 3, h, w) from its feature maps."""
        return promote_to_float32(self.indv_final(features))

    def get_foreground_mask(self, condition: Tensor) -> Tensor:
        """Return (B, 1, h, w): how much of the newest frame of (B, T, C, h, w) has a foreground label."""
        newest = condition[:, -1]
        channels = [newest[:, label] for label in self.config.foreground]
        return torch.stack(channels, dim=1).sum(1, keepdim=True).clamp(0, 1)

    def compose(
        self, features: FeatureMaps, condition: Tensor, previous: Tensor, no_warp: bool
    ) -> GeneratorOutput:
        """Compute a frame from feature maps by the heads, warping and blending.

        Args:
            features: Feature maps at this network's scale.
            condition: (B, n_frames_G, C, h, w).
            previous: Previous images (B, n_frames_G - 1, 3, h, w).
            no_warp: Whether the raw image is the image.
        """
        image = raw_image = promote_to_float32(self.model_final_img(features.image))
        flow = blend_weight = None
        if features.flow is not None:
            flow = run_in_float32(self.model_final_flow, features.flow) * self.flow_scale
            blend_weight = run_in_float32(self.model_final_w, features.flow)
            if not no_warp:
                warped = warp(previous[:, -1], flow)
                image = raw_image * blend_weight + warped * (1 - blend_weight)
        if features.foreground is not None:
            foreground = self.generate_foreground(features.foreground)
            mask = self.get_foreground_mask(condition)
            image = foreground * mask + image * (1 - mask)
            raw_image = foreground * mask + raw_image * (1 - mask)
        return GeneratorOutput(image, raw_image, flow, blend_weight)


class CompositeGenerator(CompositeGeneratorBase):
    """The coarsest network, G0."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config, level=0)
        kind, n_downsample = config.norm, config.n_downsample

        def encoder(in_channels: int, width: int, n_blocks: int) -> nn.Sequential:
            channels = channel_counts(width, n_downsample)
            # Before the stem: biases keep torch's random initialization, which depends on the order.
            downs = down_layers(channels, kind)
            return nn.Sequential(
                *stem(in_channels, width, kind), *downs, *blocks(n_blocks, channels[-1], kind)
            )

        def decoder(width: int) -> nn.Sequential:
            return nn.Sequential(*up_layers(channel_counts(width, n_downsample), kind))

        if config.foreground:
            width = get_foreground_width(config)
            deepest = width * 2**n_downsample
            self.indv_down = encoder(config.stacked_condition_channels, width, 0)
            self.indv_res = nn.Sequential(*blocks(config.n_blocks, deepest, kind))
            self.indv_up = decoder(width)
            self.indv_final = head(width, config.image_channels, nn.Tanh())
        width, half = self.width, config.n_blocks // 2
        deepest = width * 2**n_downsample
        self.model_down_seg = encoder(
            config.stacked_condition_channels, width, config.n_blocks - half
        )
        self.model_down_img = encoder(config.stacked_image_channels, width, config.n_blocks - half)
        self.model_res_img = nn.Sequential(*blocks(half, deepest, kind))
        self.model_up_img = decoder(width)
        self.add_image_head()
        if config.flow:
            self.model_res_flow = nn.Sequential(*blocks(half, deepest, kind))
            self.model_up_flow = decoder(width)
            self.add_flow_heads()

    def forward(
        self, condition: Tensor, previous: Tensor, no_warp: bool
    ) -> tuple[GeneratorOutput, FeatureMaps]:
        """Generate a frame.

        Args:
            condition: (B, n_frames_G, C, h, w).
            previous: Previous images (B, n_frames_G - 1, 3, h, w).
            no_warp: Whether the raw image is the image, for frames without previous images.

        Returns:
            The frame, and the feature maps that the next finer network adds to its own.
        """
        stacked = self.merge_time_into_channels(condition)
        encoded_condition = self.run_stage(self.model_down_seg, stacked)
        trunk = encoded_condition + self.encode_previous_images(previous)
        image = self.run_stage(self.model_up_img, self.run_stage(self.model_res_img, trunk))
        flow = foreground = None
        if self.config.flow:
            flow = self.run_stage(self.model_up_flow, self.run_stage(self.model_res_flow, trunk))
        if self.config.foreground:
            foreground = self.decode_foreground(stacked, None)
        features = FeatureMaps(image, flow, foreground)
        return self.compose(features, condition, previous, no_warp), features

    def decode_foreground(self, stacked_condition: Tensor, coarse: Tensor | None) -> Tensor:
        """Return the foreground's feature maps right before its head."""
        encoded = self.run_stage(self.indv_down, stacked_condition)
        return self.run_stage(self.indv_up, self.run_stage(self.indv_res, encoded))


class CompositeLocalGenerator(CompositeGeneratorBase):
    """A refining network, G1, G2, ...: twice the size of the next coarser, whose feature maps it adds to its own."""

    def __init__(self, config: GeneratorConfig, level: int) -> None:
        super().__init__(config, level)
        kind = config.norm

        def encoder(in_channels: int, width: int) -> nn.Sequential:
            return nn.Sequential(*stem(in_channels, width, kind), *down(width, 2 * width, kind))

        def decoder(width: int) -> nn.Sequential:
            return nn.Sequential(
                *blocks(config.n_blocks_local, 2 * width, kind), *up(2 * width, width, kind)
            )

        if config.foreground:
            width = get_foreground_width(config) // 2**level
            self.indv_down = encoder(config.stacked_condition_channels, width)
            self.indv_up = decoder(width)
            self.indv_final = head(width, config.image_channels, nn.Tanh())
        width = self.width
        self.model_down_seg = encoder(config.stacked_condition_channels, width)
        self.model_down_img = encoder(config.stacked_image_channels, width)
        self.model_up_img = decoder(width)
        self.add_image_head()
        if config.flow:
            self.model_up_flow = decoder(width)
            self.add_flow_heads()

    def forward(
        self, condition: Tensor, previous: Tensor, no_warp: bool, coarse: FeatureMaps
    ) -> tuple[GeneratorOutput, FeatureMaps]:
        """Generate a frame.

        Args:
            condition: (B, n_frames_G, C, h, w).
            previous: Previous images (B, n_frames_G - 1, 3, h, w).
            no_warp: Whether the raw image is the image, for frames without previous images.
            coarse: Feature maps of the next coarser network, of half the size: that of this network's trunk.

        Returns:
            The frame, and the feature maps that the next finer network adds to its own.
        """
        stacked = self.merge_time_into_channels(condition)
        encoded_condition = self.run_stage(self.model_down_seg, stacked)
        trunk = encoded_condition + self.encode_previous_images(previous)
        image = self.run_stage(self.model_up_img, trunk + coarse.image)
        flow = foreground = None
        if coarse.flow is not None:
            flow = self.run_stage(self.model_up_flow, trunk + coarse.flow)
        if coarse.foreground is not None:
            foreground = self.decode_foreground(stacked, coarse.foreground)
        features = FeatureMaps(image, flow, foreground)
        return self.compose(features, condition, previous, no_warp), features

    def decode_foreground(self, stacked_condition: Tensor, coarse: Tensor | None) -> Tensor:
        """Return the foreground's feature maps right before its head."""
        assert coarse is not None
        return self.run_stage(
            self.indv_up, self.run_stage(self.indv_down, stacked_condition) + coarse
        )


def get_foreground_width(config: GeneratorConfig) -> int:
    """Return the first width of the coarsest foreground hourglass.

    As published: half of the network's where it halves the size more than twice.
    """
    return config.width // 2 if config.n_downsample > 2 else config.width


def build_generator(config: GeneratorConfig) -> nn.ModuleList:
    """Build the networks G0, G1, ..., the coarsest first, with random weights."""
    refining = [CompositeLocalGenerator(config, level) for level in range(1, config.n_scales)]
    networks = nn.ModuleList([CompositeGenerator(config), *refining])
    init_weights(networks)
    return networks
