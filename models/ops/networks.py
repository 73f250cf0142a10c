"""Optimized networks: subclasses of the published ones, which decide for their layers where optimized ops run."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.blocks import build_pyramid
from models.networks.discriminators import ConditionInput, MultiScaleDiscriminator
from models.networks.generators import (
    CompositeGenerator,
    CompositeGeneratorBase,
    CompositeLocalGenerator,
    FeatureMaps,
    GeneratorOutput,
)
from models.networks.labels import Condition, SparseOneHot
from models.ops.dispatch import (
    OpChoice,
    current_op_choice,
    reference_ops,
    should_use_channels_last,
    to_channels_last,
    use_ops,
)


class OptimizedGeneratorBase(CompositeGeneratorBase):
    """What both optimized generators add: they take sparse conditions, and choose the ops of each forward pass."""

    takes_sparse_conditions = True

    def choose_ops(self, condition: Condition, previous: Tensor, no_warp: bool) -> OpChoice:
        """Return the choice for these inputs of `forward`."""
        foreground_width = self.width
        if self.config.foreground and isinstance(condition, SparseOneHot):
            # sparse labels are convolved as such if the stage itself is large enough (`should_use_label_conv`)
            foreground_width = self.indv_down[1].out_channels
        return OpChoice(
            channels_last=should_use_channels_last(previous, self.width),
            foreground_channels_last=should_use_channels_last(previous, foreground_width),
            norms_keep_format=not self._normalizes_half_precision_per_sample(previous),
            # The images before a no_warp frame may be black. Norms amplify the rounding errors of their constant
            # feature maps to visible size, which must be the rounding errors of the public release.
            reference_history=no_warp,
        )

    def forward(
        self, condition: Condition, previous: Tensor, no_warp: bool, *coarse: FeatureMaps
    ) -> tuple[GeneratorOutput, FeatureMaps]:
        """Generate a frame, as the base class. A condition may be sparse."""
        if torch.compiler.is_compiling():
            return super().forward(condition, previous, no_warp, *coarse)
        with use_ops(self.choose_ops(condition, previous, no_warp)):
            return super().forward(condition, previous, no_warp, *coarse)

    def _normalizes_half_precision_per_sample(self, previous: Tensor) -> bool:
        """Return whether batch norms compute torch's instance norm, which returns contiguous maps."""
        first_norm = self.model_down_img[2]
        is_half = torch.is_autocast_enabled("cpu")
        return is_half and len(previous) > 1 and getattr(first_norm, "per_sample_stats", False)

    def merge_time_into_channels(self, frames: Condition) -> Condition:  # type: ignore[override]
        """Return (B, T * C, h, w), or a sparse condition as it is: the first convolution merges it."""
        if isinstance(frames, SparseOneHot):
            return frames
        return to_channels_last(super().merge_time_into_channels(frames), self.width)

    def encode_previous_images(self, previous: Tensor) -> Tensor:
        """Encode the previous images, by reference ops where the choice asks for them."""
        with reference_ops() if current_op_choice().reference_history else nullcontext():
            return super().encode_previous_images(previous)

    def decode_foreground(self, stacked_condition: Tensor, coarse: Tensor | None) -> Tensor:
        """Return the foreground's feature maps by the ops for the foreground."""
        if torch.compiler.is_compiling():
            return super().decode_foreground(stacked_condition, coarse)
        with use_ops(current_op_choice().for_foreground()):
            return super().decode_foreground(stacked_condition, coarse)

    def generate_foreground(self, features: Tensor) -> Tensor:
        """Generate the foreground image by the ops for the foreground."""
        if torch.compiler.is_compiling():
            return super().generate_foreground(features)
        with use_ops(current_op_choice().for_foreground()):
            return super().generate_foreground(features)

    def get_foreground_mask(self, condition: Condition) -> Tensor:
        """Return (B, 1, h, w): how much of the newest frame has a foreground label."""
        if isinstance(condition, SparseOneHot):
            return condition.mask(self.config.foreground)
        return super().get_foreground_mask(condition)


class OptimizedCompositeGenerator(OptimizedGeneratorBase, CompositeGenerator):
    """The coarsest network with optimized ops."""


class OptimizedCompositeLocalGenerator(OptimizedGeneratorBase, CompositeLocalGenerator):
    """A refining network with optimized ops."""


class OptimizedDiscriminator(MultiScaleDiscriminator):
    """A discriminator with optimized ops, whose first convolution sees a condition once for several images."""

    def precompute_condition(self, condition: Tensor) -> ConditionInput:
        """Return each scale's response of the first convolution to (N, C, H, W), the finest first.

        Return the condition itself where that is not worthwhile, or with spectral normalization, with which the weights
        change in each forward pass.
        """
        width = self.config.width
        if self.config.spectral_norm or not should_use_channels_last(condition, width):
            return condition
        pyramid = build_pyramid(to_channels_last(condition, width), self.config.n_scales)
        responses = []
        for conv, level in zip(self._first_convs(), pyramid, strict=True):
            weight = conv.weight[:, : level.shape[1]]
            responses.append(F.conv2d(level, weight, conv.bias, conv.stride, conv.padding))
        return responses

    def forward(self, x: Tensor, condition: ConditionInput | None = None) -> list[list[Tensor]]:
        """Score an input, as the base class."""
        if isinstance(condition, Tensor):
            x, condition = torch.cat([condition, x], dim=1), None
        x = to_channels_last(x, self.config.width)
        if torch.compiler.is_compiling():
            return super().forward(x)
        uses_channels_last = should_use_channels_last(x, self.config.width)
        finest = self.config.n_scales - 1
        outputs = []
        for i, level in enumerate(build_pyramid(x, self.config.n_scales)):
            # torch's convolutions do not take a single pooled sample for channels_last (its stride along N is 1)
            is_recognized = i == 0 or len(x) > 1
            with use_ops(OpChoice(channels_last=uses_channels_last and is_recognized)):
                if condition is None:
                    outputs.append(self._run_scale(finest - i, level))
                else:
                    outputs.append(self._run_scale_with_response(finest - i, level, condition[i]))
        return outputs

    def _run_scale_with_response(self, scale: int, x: Tensor, response: Tensor) -> list[Tensor]:
        """Score the channels after the condition's, given the first convolution's response to the condition."""
        first, *others = self.get_layers(scale)
        conv = first[0]
        assert isinstance(conv, nn.Conv2d)
        weight = conv.weight[:, -x.shape[1] :]
        y = response + F.conv2d(x, weight, None, conv.stride, conv.padding)
        features = [first[1:](y)]
        for layer in others:
            features.append(layer(features[-1]))
        return features

    def _first_convs(self) -> list[nn.Conv2d]:
        """Return the first convolution of each scale, the finest first."""
        return [self.get_layers(scale)[0][0] for scale in reversed(range(self.config.n_scales))]  # type: ignore[misc]
