"""Optimized layers, each a subclass of the layer that it replaces, with the same parameters and state-dict keys.

They compute what their base class computes, up to rounding, and fall back to it where that is quicker.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from models.networks.blocks import BatchStatNorm2d, ReflectionPad2d, running_stats_momentum
from models.networks.labels import Condition, SparseOneHot
from models.ops.batch_norm import (
    batch_norm_channels_last,
    compute_channel_stats,
    instance_norm_channels_last,
)
from models.ops.conv_few_outputs import conv2d_by_kernel_rows, conv2d_by_kernel_taps
from models.ops.dispatch import (
    cast_for_conv,
    current_op_choice,
    is_winograd_worthwhile,
    should_use_label_conv,
    should_use_winograd,
)
from models.ops.label_conv import label_conv2d
from models.ops.winograd import winograd_conv2d


class WinogradConv2d(nn.Conv2d):
    """3x3 or 4x4 convolution of stride 1, by Winograd's algorithm.

    Attributes:
        winograd_weight: The transformed weight, kept where the weight does not train (`models.inference.prepare`).
    """

    winograd_weight: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W). The output of Winograd's algorithm is channels_last."""
        weight = (
            self.weight
        )  # read once: with spectral normalization each read is a power iteration
        if not should_use_winograd(x, weight):
            return self._conv_forward(x, weight, self.bias)
        padding = int(self.padding[0])
        return winograd_conv2d(
            x, weight, self.bias, padding, transformed_weight=self.winograd_weight
        )

    @property
    def input_margin(self) -> int:
        """How much larger in height and width the input is than the output."""
        return self.kernel_size[0] - 1 - 2 * int(self.padding[0])


class ChannelsLastLayer(nn.Module):
    """A layer with another operation for inputs that are channels_last.

    Attributes:
        winograd_margin: `input_margin` of the `WinogradConv2d` right before this layer; None for no such.
    """

    winograd_margin: int | None = None

    def receives_channels_last(self, x: Tensor) -> bool:
        """Return whether the layers before this one make x (N, C, H, W) channels_last on a CPU."""
        if current_op_choice().channels_last:
            return True
        if self.winograd_margin is None:
            return False
        height, width = (side + self.winograd_margin for side in x.shape[2:])
        return is_winograd_worthwhile(x, height, width)


class ChannelsLastBatchNorm2d(ChannelsLastLayer, BatchStatNorm2d):
    """Batch norm with exact statistics for channels_last inputs.

    torch's own kernel for channels_last on a CPU is inexact: it sums each channel in one long sum.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (N, C, H, W)."""
        is_half = x.dtype.itemsize < 4  # loses nothing by torch's kernel
        if is_half or not self.receives_channels_last(x):
            return super().forward(x)
        self._check_input_dim(x)
        if self.per_sample_stats and len(x) > 1:
            return instance_norm_channels_last(x, self.weight, self.bias, self.eps)
        mean, variance = compute_channel_stats(x.detach())
        if self.updates_running_stats:
            self._update_running_stats(mean, variance, count=x.numel() // x.shape[1])
        return batch_norm_channels_last(x, mean, variance, self.weight, self.bias, self.eps)

    def _update_running_stats(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None
        momentum = running_stats_momentum(self)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), momentum)


class KernelRowConv2d(nn.Conv2d):
    """7x7 convolution to few channels without padding, as sums of convolutions by the rows of the kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        choice = current_op_choice()
        if choice.channels_last and choice.norms_keep_format:
            return conv2d_by_kernel_rows(x, self.weight, self.bias)
        return super().forward(x)


class KernelTapConv2d(ChannelsLastLayer, nn.Conv2d):
    """Convolution of stride 1 to a single channel, as sums of 1x1 convolutions by the taps of the kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        weight = (
            self.weight
        )  # read once: with spectral normalization each read is a power iteration
        if self.receives_channels_last(x):
            return conv2d_by_kernel_taps(x, weight, self.bias, int(self.padding[0]))
        return self._conv_forward(x, weight, self.bias)


class LabelReflectionPad2d(ReflectionPad2d):
    """Reflection padding that leaves label maps as they are: `LabelConv2d` reflects them itself."""

    def forward(self, x: Condition) -> Condition:  # type: ignore[override]
        """Pad (N, C, H, W), or return a sparse condition."""
        return x if isinstance(x, SparseOneHot) else super().forward(x)


class LabelConv2d(nn.Conv2d):
    """7x7 convolution of a padded tensor or of label maps."""

    def forward(self, x: Condition) -> Tensor:
        """Convolve (N, C, H, W), or a sparse condition that stands for its frames' channels side by side."""
        if not isinstance(x, SparseOneHot):
            return super().forward(x)
        if should_use_label_conv(x.ids, self.weight):
            return sparse_conv7x7(x, self.weight, self.bias)
        dense = x.to_dense().flatten(1, 2).to(self.weight.dtype)
        return super().forward(F.pad(dense, (3, 3, 3, 3), mode="reflect"))


def sparse_conv7x7(maps: SparseOneHot, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve the frames of a sparse condition side by side, (B, T * C, H, W), reflected by 3: (B, O, H, W).

    An edge is one more bit of the label, at no cost. Features are convolved as they are.

    Args:
        maps: Condition (B, T, C, H, W).
        weight: (O, T * C, 7, 7).
        bias: (O,).
    """
    weight = cast_for_conv(weight)
    tables = rearrange(weight, "o (t c) h w -> t (h w) c o", t=maps.shape[1])
    codes = maps.ids.squeeze(2).int().clamp(max=maps.label_nc)
    table = F.pad(tables[:, :, : maps.label_nc], (0, 0, 0, 1))  # zeros for no label
    if maps.edges is not None:
        edge = tables[:, :, maps.label_nc].unsqueeze(2)
        codes = codes * 2 + maps.edges.squeeze(2).int()
        table = torch.stack([table, table + edge], dim=3)
    table = table.flatten(2, -2)
    sums = label_conv2d(codes, table, None if bias is None else cast_for_conv(bias))
    if maps.features is None:
        return sums
    n_features = maps.features.shape[2]
    feature_weight = weight.unflatten(1, (maps.shape[1], -1))[:, :, -n_features:].flatten(1, 2)
    padded = F.pad(maps.features.flatten(1, 2), (3, 3, 3, 3), mode="reflect")
    return sums + F.conv2d(padded, feature_weight)
