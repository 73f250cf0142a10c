"""Label maps as what the generators see, without ever being one-hot: ids, and what lies beside them.

One-hot label maps are almost all zeros. A convolution of them is a sum of weight vectors, one for each pixel of its
window, chosen by that pixel's label; so at the finest scale ids are enough. Coarser scales see averages of labels,
which are dense.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from models.ops.dispatch import cast_for_conv, should_use_label_conv
from models.ops.label_conv import label_conv2d


def one_hot(ids: Tensor, label_nc: int) -> Tensor:
    """(..., 1, H, W) integer ids -> (..., label_nc, H, W) float32. An id of label_nc is no label: all zeros."""
    ids = ids.long()  # 8 bits would not hold the 256 that may be compared with
    planes = torch.zeros(*ids.shape[:-3], label_nc, *ids.shape[-2:], device=ids.device)
    return planes.scatter_(-3, ids.clamp(max=label_nc - 1), (ids < label_nc).to(planes.dtype))


def _avg_pool_one_hot(ids: Tensor, label_nc: int) -> Tensor:
    """Every label's share of each 3x3 window of stride 2: (N, 1, H, W) ids -> (N, label_nc, h, w) float32."""
    inside, ids = (
        F.unfold(F.pad(x.float(), (1, 1, 1, 1)), 3, stride=2)
        for x in (torch.ones_like(ids), ids.int().clamp(max=label_nc))
    )
    planes = torch.zeros(len(ids), label_nc + 1, ids.shape[-1], device=ids.device)
    return planes.scatter_add_(1, ids.long(), inside / inside.sum(1, keepdim=True))[:, :label_nc]


@dataclass(frozen=True)
class SparseOneHot:
    """Stands for the tensor (B, T, C, H, W) whose channels are one-hot labels, then the edge, then the features.

    ids: (B, T, 1, H, W) integers, label_nc or more for no label. edges: (B, T, 1, H, W), 1 where instances meet,
    else 0. features: (B, T, F, H, W).
    """

    ids: Tensor
    label_nc: int
    edges: Tensor | None = None
    features: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(B, T, C, H, W)."""
        batch, n_frames, _, height, width = self.ids.shape
        return (
            batch,
            n_frames,
            self.label_nc + sum(x.shape[2] for x in self._dense_channels()),
            height,
            width,
        )

    @property
    def device(self) -> torch.device:
        return self.ids.device

    def to(self, device: torch.device) -> SparseOneHot:
        return self.apply(lambda x: x.to(device))

    def to_dense(self) -> Tensor:
        """The tensor, float32."""
        return torch.cat([one_hot(self.ids, self.label_nc), *self._dense_channels()], dim=2)

    def avg_pool_half(self) -> Tensor:
        """`models.networks.blocks.avg_pool_half` of the tensor, at half the size."""
        size = [(side + 1) // 2 for side in self.ids.shape[-2:]]
        planes = _avg_pool_one_hot(self.ids.flatten(0, 1), self.label_nc).unflatten(2, size)
        beside = [
            F.avg_pool2d(x.flatten(0, 1), 3, stride=2, padding=1, count_include_pad=False)
            for x in self._dense_channels()
        ]
        return torch.cat([planes, *beside], dim=1).unflatten(0, self.ids.shape[:2])

    def slice_frames(self, start: int, stop: int) -> SparseOneHot:
        """Frames start..stop-1."""
        return self.apply(lambda x: x[:, start:stop])

    def mask(self, labels: Sequence[int]) -> Tensor:
        """(B, 1, H, W) float32 of the newest frame: 1 where the label is one of these."""
        newest = self.ids[:, -1]
        return (
            torch.stack([newest == label for label in labels]).any(0).float()
        )  # sends no list of labels to a device

    def apply(self, fn: Callable[[Tensor], Tensor]) -> SparseOneHot:
        """With every tensor changed."""
        return SparseOneHot(
            fn(self.ids),
            self.label_nc,
            None if self.edges is None else fn(self.edges),
            None if self.features is None else fn(self.features),
        )

    @staticmethod
    def concatenate(parts: Sequence[SparseOneHot], dim: int) -> SparseOneHot:
        """axis: 0 to one batch, 1 in time order to one clip."""

        def joined(name: str) -> Tensor | None:
            tensors = [getattr(part, name) for part in parts]
            return None if tensors[0] is None else torch.cat(tensors, dim=dim)

        return SparseOneHot(
            torch.cat([part.ids for part in parts], dim=dim),
            parts[0].label_nc,
            joined("edges"),
            joined("features"),
        )

    def conv7x7(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, O, H, W): F.conv2d of the tensor's frames side by side, (B, T * C, H, W), reflected by 3.

        weight: (O, T * C, 7, 7). An edge is one more bit of the label, at no cost; features are convolved as they are.
        """
        weight = cast_for_conv(weight)
        parts = rearrange(weight, "o (t c) h w -> t (h w) c o", t=self.shape[1])
        letters = self.ids.squeeze(2).int().clamp(max=self.label_nc)
        table = F.pad(parts[:, :, : self.label_nc], (0, 0, 0, 1))
        if self.edges is not None:
            edge = parts[:, :, self.label_nc].unsqueeze(2)
            letters, table = (
                letters * 2 + self.edges.squeeze(2).int(),
                torch.stack([table, table + edge], dim=3),
            )
        sums = label_conv2d(
            letters, table.flatten(2, -2), None if bias is None else cast_for_conv(bias)
        )
        if self.features is None:
            return sums
        shown = weight.unflatten(1, (self.shape[1], -1))[:, :, -self.features.shape[2] :].flatten(
            1, 2
        )
        return sums + F.conv2d(
            F.pad(self.features.flatten(1, 2), (3, 3, 3, 3), mode="reflect"), shown
        )

    def _dense_channels(self) -> list[Tensor]:
        return [x.float() for x in (self.edges, self.features) if x is not None]


Condition = Tensor | SparseOneHot  # (B, T, C, H, W)


class LabelReflectionPad2d(nn.Module):
    """Lets label maps through: their convolution reflects them itself."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: Condition) -> Condition:
        return x if isinstance(x, SparseOneHot) else F.pad(x, (self.padding,) * 4, mode="reflect")


class LabelConv2d(nn.Conv2d):
    """7x7 convolution at full size of a padded tensor, or of label maps."""

    def forward(self, x: Condition) -> Tensor:
        if not isinstance(x, SparseOneHot):
            return super().forward(x)
        if should_use_label_conv(x.ids, self.weight):
            return x.conv7x7(self.weight, self.bias)
        return super().forward(
            F.pad(x.to_dense().flatten(1, 2).to(self.weight.dtype), (3, 3, 3, 3), mode="reflect")
        )


def slice_frames(condition: Condition, start: int, stop: int) -> Condition:
    """Frames start..stop-1."""
    return (
        condition.slice_frames(start, stop)
        if isinstance(condition, SparseOneHot)
        else condition[:, start:stop]
    )


def concatenate_conditions(parts: Sequence[Condition], dim: int = 1) -> Condition:
    """In time order to one, or (axis 0) side by side to one batch; of one kind."""
    if all(isinstance(part, SparseOneHot) for part in parts):
        return SparseOneHot.concatenate(parts, dim)  # type: ignore[arg-type]
    return torch.cat(parts, dim=dim)  # type: ignore[arg-type]
