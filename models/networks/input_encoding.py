"""From what the loader gives to what the networks see, on the device: one-hot labels, instance edges, padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.networks.sparse_labels import Condition, SparseOneHot, one_hot
from models.ops.dispatch import should_use_sparse_labels
from util.clip import Clip


def get_edges(ids: Tensor) -> Tensor:
    """(..., 1, H, W) ids -> float32, 1 where any 4-neighbour has another id."""
    edge = torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
    across, along = ids[..., :, 1:] != ids[..., :, :-1], ids[..., 1:, :] != ids[..., :-1, :]
    edge[..., :, 1:] |= across
    edge[..., :, :-1] |= across
    edge[..., 1:, :] |= along
    edge[..., :-1, :] |= along
    return edge.float()


@dataclass(frozen=True)
class ConditionConfig:
    """label_nc: number of labels, 0 for an image as condition. instance_edges: whether an edge channel follows."""

    label_nc: int
    instance_edges: bool

    def encode_dense(self, clip: Clip) -> Tensor:
        """(B, T, C, H, W) float32 as the networks see it: within a frame, one-hot first, then the instance edge."""
        condition = one_hot(clip.condition, self.label_nc) if self.label_nc else clip.condition
        if not self.instance_edges:
            return condition
        assert clip.instance is not None
        return torch.cat([condition, get_edges(clip.instance)], dim=-3)

    def encode(self, clip: Clip, features: Tensor | None = None) -> Condition:
        """What a generator sees: (B, T, C, H, W), `encode` and then the features; label maps stay ids where that is
        quicker."""
        if self.label_nc and should_use_sparse_labels(clip.condition.device):
            edges = (
                get_edges(clip.instance)
                if self.instance_edges and clip.instance is not None
                else None
            )
            return SparseOneHot(clip.condition, self.label_nc, edges, features)
        condition = self.encode_dense(clip)
        return condition if features is None else torch.cat([condition, features], dim=2)


def edit_labels(clip: Clip, edits: Mapping[int, int]) -> Clip:
    """A clip of label ids with some of them turned into others, all at once: two may be exchanged."""
    if not edits:
        return clip
    table = torch.arange(256, dtype=torch.uint8, device=clip.condition.device)
    table[list(edits)] = torch.tensor(list(edits.values()), dtype=torch.uint8, device=table.device)
    return replace(clip, condition=table[clip.condition.long()])


def _replicate_border(x: Tensor, height: int, width: int) -> Tensor:
    """Repeats the last row and column; by indexing, as integers have no padding of their own."""
    rows = torch.arange(height, device=x.device).clamp(max=x.shape[-2] - 1)
    columns = torch.arange(width, device=x.device).clamp(max=x.shape[-1] - 1)
    return x.index_select(-2, rows).index_select(-1, columns)


def pad_clip(clip: Clip, multiple: int) -> Clip:
    """The clip with right and bottom borders repeated up to sizes that the networks take."""
    height, width = (-(-side // multiple) * multiple for side in clip.condition.shape[-2:])
    if (height, width) == clip.condition.shape[-2:]:
        return clip
    return clip.apply(lambda tensor: _replicate_border(tensor, height, width))
