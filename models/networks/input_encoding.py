"""Encoding of clips as network inputs: one-hot labels, instance edges, label edits, padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.networks.labels import Condition, SparseOneHot, one_hot
from models.ops.dispatch import should_use_sparse_labels
from util.clip import Clip


def get_edges(ids: Tensor) -> Tensor:
    """Return (..., 1, H, W) float32: 1 where any of the 4 neighbors has another id."""
    edges = torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
    differs_in_row = ids[..., :, 1:] != ids[..., :, :-1]
    differs_in_column = ids[..., 1:, :] != ids[..., :-1, :]
    edges[..., :, 1:] |= differs_in_row
    edges[..., :, :-1] |= differs_in_row
    edges[..., 1:, :] |= differs_in_column
    edges[..., :-1, :] |= differs_in_column
    return edges.float()


@dataclass(frozen=True)
class ConditionConfig:
    """How conditions are encoded.

    Attributes:
        label_nc: Number of labels; 0 for images as conditions.
        instance_edges: Whether an edge channel follows.
    """

    label_nc: int
    instance_edges: bool

    def encode_dense(self, clip: Clip) -> Tensor:
        """Return the condition (B, T, C, H, W) float32: one-hot labels or images, then the instance edges."""
        condition = one_hot(clip.condition, self.label_nc) if self.label_nc else clip.condition
        if not self.instance_edges:
            return condition
        assert clip.instance is not None
        return torch.cat([condition, get_edges(clip.instance)], dim=-3)

    def encode(self, clip: Clip, features: Tensor | None = None) -> Condition:
        """Return the input of a generator, (B, T, C, H, W): the condition and then the features.

        Label maps stay sparse where that is quicker for generators with optimized ops.
        """
        if self.label_nc and should_use_sparse_labels(clip.condition.device):
            edges = None
            if self.instance_edges and clip.instance is not None:
                edges = get_edges(clip.instance)
            return SparseOneHot(clip.condition, self.label_nc, edges, features)
        condition = self.encode_dense(clip)
        return condition if features is None else torch.cat([condition, features], dim=2)


def edit_labels(clip: Clip, edits: Mapping[int, int]) -> Clip:
    """Replace label ids by others, all at once: two labels may be exchanged."""
    if not edits:
        return clip
    table = torch.arange(256, dtype=torch.uint8, device=clip.condition.device)
    table[list(edits)] = torch.tensor(list(edits.values()), dtype=torch.uint8, device=table.device)
    return replace(clip, condition=table[clip.condition.long()])


def _replicate_border(x: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and column up to a size. By indexing, as torch cannot pad integers by replication."""
    rows = torch.arange(height, device=x.device).clamp(max=x.shape[-2] - 1)
    columns = torch.arange(width, device=x.device).clamp(max=x.shape[-1] - 1)
    return x.index_select(-2, rows).index_select(-1, columns)


def pad_clip(clip: Clip, multiple: int) -> Clip:
    """Repeat the right and bottom borders until height and width are divisible by a number."""
    height, width = (-(-side // multiple) * multiple for side in clip.condition.shape[-2:])
    if (height, width) == clip.condition.shape[-2:]:
        return clip
    return clip.apply(lambda tensor: _replicate_border(tensor, height, width))
