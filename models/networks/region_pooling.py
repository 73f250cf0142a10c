"""Average pooling over the regions of an image (pix2pixHD, section 3.4: instance-wise average pooling)."""

from __future__ import annotations

import torch
from torch import Tensor


def average_regions(feature_maps: Tensor, regions: Tensor) -> Tensor:
    """Replace every feature by its mean over the region.

    Args:
        feature_maps: (B, C, H, W).
        regions: (B, 1, H, W) integer ids.

    Returns:
        (B, C, H, W), constant within each region.
    """
    pairs = zip(feature_maps, regions, strict=True)
    return torch.stack([_average_regions_of_image(features, ids[0]) for features, ids in pairs])


def _average_regions_of_image(features: Tensor, ids: Tensor) -> Tensor:
    """(C, H, W) features, (H, W) ids -> (C, H, W)."""
    unique_ids, index_map = ids.unique(return_inverse=True)
    indices = index_map.flatten()
    sums = features.new_zeros(len(features), len(unique_ids))
    sums = sums.index_add(1, indices, features.flatten(1))
    counts = indices.bincount(minlength=len(unique_ids))
    return (sums / counts)[:, index_map]
