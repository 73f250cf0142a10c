"""One-hot label maps, and their sparse form, ids, which generators take where that is quicker.

One-hot label maps are almost all zeros. A 7x7 convolution of them is a sum of one weight vector for each pixel of a
window, selected by the pixel's label (`models.ops.layers.LabelConv2d`), so ids are enough at the finest scale. Coarser
scales see averages of labels, which are dense.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def one_hot(ids: Tensor, label_nc: int) -> Tensor:
    """Convert integer ids (..., 1, H, W) to one-hot maps (..., label_nc, H, W) float32.

    An id of label_nc or more is no label: all its channels are zero.
    """
    ids = ids.long()  # uint8 could not be compared with 256
    planes = torch.zeros(*ids.shape[:-3], label_nc, *ids.shape[-2:], device=ids.device)
    return planes.scatter_(-3, ids.clamp(max=label_nc - 1), (ids < label_nc).to(planes.dtype))


def _avg_pool_one_hot(ids: Tensor, label_nc: int) -> Tensor:
    """Return each label's share of each 3x3 window of stride 2: ids (N, 1, H, W) -> (N, label_nc, h * w) float32."""

    def unfold(x: Tensor) -> Tensor:
        return F.unfold(F.pad(x.float(), (1, 1, 1, 1)), 3, stride=2)

    is_inside = unfold(torch.ones_like(ids))
    window_ids = unfold(ids.int().clamp(max=label_nc)).long()
    shares = torch.zeros(len(ids), label_nc + 1, window_ids.shape[-1], device=ids.device)
    shares.scatter_add_(1, window_ids, is_inside / is_inside.sum(1, keepdim=True))
    return shares[:, :label_nc]


@dataclass(frozen=True)
class SparseOneHot:
    """Sparse form of a condition (B, T, C, H, W) whose channels are one-hot labels, then the edge, then the features.

    Attributes:
        ids: (B, T, 1, H, W) integers; label_nc or more for no label.
        label_nc: Number of labels.
        edges: (B, T, 1, H, W), 1 where instances meet, else 0.
        features: (B, T, F, H, W).
    """

    ids: Tensor
    label_nc: int
    edges: Tensor | None = None
    features: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(B, T, C, H, W) of the dense tensor."""
        batch, n_frames, _, height, width = self.ids.shape
        channels = self.label_nc + sum(x.shape[2] for x in self._dense_channels())
        return batch, n_frames, channels, height, width

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.ids.device

    def to(self, device: torch.device) -> SparseOneHot:
        """Return a copy on another device."""
        return self.apply(lambda x: x.to(device))

    def to_dense(self) -> Tensor:
        """Return the dense tensor (B, T, C, H, W) float32."""
        return torch.cat([one_hot(self.ids, self.label_nc), *self._dense_channels()], dim=2)

    def avg_pool_half(self) -> Tensor:
        """Return `models.networks.blocks.avg_pool_half` of the dense tensor: (B, T, C, h, w)."""
        size = [(side + 1) // 2 for side in self.ids.shape[-2:]]
        shares = _avg_pool_one_hot(self.ids.flatten(0, 1), self.label_nc).unflatten(2, size)
        pooled = [
            F.avg_pool2d(x.flatten(0, 1), 3, stride=2, padding=1, count_include_pad=False)
            for x in self._dense_channels()
        ]
        return torch.cat([shares, *pooled], dim=1).unflatten(0, self.ids.shape[:2])

    def slice_frames(self, start: int, stop: int) -> SparseOneHot:
        """Return frames start..stop-1."""
        return self.apply(lambda x: x[:, start:stop])

    def mask(self, labels: Sequence[int]) -> Tensor:
        """Return (B, 1, H, W) float32 of the newest frame: 1 where the label is one of these."""
        newest = self.ids[:, -1]
        # one comparison per label, because a list of labels would have to be copied to the device
        return torch.stack([newest == label for label in labels]).any(0).float()

    def apply(self, fn: Callable[[Tensor], Tensor]) -> SparseOneHot:
        """Return a copy with fn applied to every tensor."""
        return SparseOneHot(
            fn(self.ids),
            self.label_nc,
            None if self.edges is None else fn(self.edges),
            None if self.features is None else fn(self.features),
        )

    @staticmethod
    def concatenate(parts: Sequence[SparseOneHot], dim: int) -> SparseOneHot:
        """Concatenate along the batch (dim 0) or in time order (dim 1)."""

        def join(tensors: list[Tensor | None]) -> Tensor | None:
            present = [x for x in tensors if x is not None]
            return torch.cat(present, dim=dim) if present else None

        return SparseOneHot(
            torch.cat([part.ids for part in parts], dim=dim),
            parts[0].label_nc,
            join([part.edges for part in parts]),
            join([part.features for part in parts]),
        )

    def _dense_channels(self) -> list[Tensor]:
        return [x.float() for x in (self.edges, self.features) if x is not None]


Condition = Tensor | SparseOneHot  # (B, T, C, H, W)


def slice_frames(condition: Condition, start: int, stop: int) -> Condition:
    """Return frames start..stop-1."""
    if isinstance(condition, SparseOneHot):
        return condition.slice_frames(start, stop)
    return condition[:, start:stop]


def concatenate_conditions(parts: Sequence[Condition], dim: int = 1) -> Condition:
    """Concatenate conditions of one kind along the batch (dim 0) or in time order (dim 1)."""
    if all(isinstance(part, SparseOneHot) for part in parts):
        return SparseOneHot.concatenate(parts, dim)  # type: ignore[arg-type]
    return torch.cat(parts, dim=dim)  # type: ignore[arg-type]
