"""Features of regions: averaged over each, chosen from a table for each, painted into each (SPEC 7 and 12)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.inference.feature_table import FeatureTable

RegionFeatures = Mapping[int, NDArray[np.floating]]  # region id -> (n_features,)
_CANDIDATE_PART = 6  # the inner lips: their rows count the training faces, as published


def average_regions(feature_maps: Tensor, regions: Tensor) -> Tensor:
    """maps: (B, C, H, W); regions: (B, 1, H, W) integer ids -> (B, C, H, W), each region at its mean."""
    return torch.stack(
        [_average_regions_of_image(m, ids[0]) for m, ids in zip(feature_maps, regions, strict=True)]
    )


def _average_regions_of_image(feature_maps: Tensor, ids: Tensor) -> Tensor:
    """(C, H, W), (H, W) -> (C, H, W)."""
    found, numbers = ids.unique(return_inverse=True)
    sums = feature_maps.new_zeros(len(feature_maps), len(found)).index_add(
        1, numbers.flatten(), feature_maps.flatten(1)
    )
    counts = numbers.flatten().bincount(minlength=len(found))
    return (sums / counts)[:, numbers]


def extract_region_features(feature_maps: Tensor, regions: Tensor) -> RegionFeatures:
    """maps: (C, H, W), of one value in each region; regions: (H, W) -> the values by region id."""
    ids, places = np.unique(regions.cpu().numpy(), return_index=True)
    values = feature_maps.detach().float().cpu().numpy().reshape(len(feature_maps), -1)[:, places]
    return {int(region): values[:, column] for column, region in enumerate(ids)}


def fill_regions(features: RegionFeatures, regions: Tensor) -> Tensor:
    """regions: (H, W), every id of which has a vector -> (n_features, H, W) float32."""
    ids, numbers = regions.unique(return_inverse=True)
    values = np.stack([features[region] for region in ids.tolist()], axis=1)
    return torch.from_numpy(values).to(regions.device, torch.float32)[:, numbers]


def find_majority_labels(regions: Tensor, labels: Tensor) -> dict[int, int]:
    """For each region id of (H, W) the label, of (H, W), that most of its pixels have."""
    pairs, counts = torch.stack([regions.flatten().long(), labels.flatten().long()]).unique(
        dim=1, return_counts=True
    )
    by_size = pairs[:, counts.argsort(stable=True)].T.tolist()
    return dict(by_size)  # the largest comes last, and stays


def find_nearest_face(features: RegionFeatures, table: FeatureTable) -> RegionFeatures:
    """For each part of `own` the features of one training face: the one whose parts, together, are the nearest.

    Candidates are rows 0.. of as many faces as the inner lips have rows; a part with fewer rows takes its last. A part
    that the table does not know counts for nothing and keeps its own features.
    """
    known = [part for part in features if part in table]
    if not known:
        return features
    faces = np.arange(
        len(table[_CANDIDATE_PART]) if _CANDIDATE_PART in table else max(map(len, table.values()))
    )
    distances = sum(
        np.square(_get_features(table[part], faces) - features[part]).sum(axis=1) for part in known
    )
    chosen = np.argmin(distances)
    return {
        part: _get_features(table[part], chosen) if part in table else vector
        for part, vector in features.items()
    }


def _get_features(
    rows: NDArray[np.floating], index: NDArray[np.integer] | np.integer
) -> NDArray[np.floating]:
    """Without the last column, which is no feature."""
    return rows[np.minimum(index, len(rows) - 1), :-1]


def sample_table_features(
    labels: Mapping[int, int], table: FeatureTable, seed: int
) -> RegionFeatures:
    """For each region one row of its label's entry, by the region's id: the same in every frame. A label that the table
    does not know gets the table's mean. labels: region id -> label."""
    mean = np.concatenate(list(table.values()))[:, :-1].mean(axis=0)
    return {
        region: _sample_row(table[label], region, seed) if label in table else mean
        for region, label in labels.items()
    }


def _sample_row(rows: NDArray[np.floating], region: int, seed: int) -> NDArray[np.floating]:
    return rows[np.random.default_rng([seed, region]).integers(len(rows)), :-1]
