"""Features of regions: averaged over each, chosen from a table for each, painted into each (SPEC 7 and 12)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from util.feature_table import FeatureTable

Vectors = Mapping[int, NDArray[np.floating]]  # region id -> (n_features,)
CANDIDATE_PART = 6  # the inner lips: their rows count the training faces, as published


def region_means(maps: Tensor, regions: Tensor) -> Tensor:
    """maps: (B, C, H, W); regions: (B, 1, H, W) integer ids -> (B, C, H, W), each region at its mean."""
    return torch.stack([_means(m, ids[0]) for m, ids in zip(maps, regions, strict=True)])


def _means(maps: Tensor, ids: Tensor) -> Tensor:
    """(C, H, W), (H, W) -> (C, H, W)."""
    found, numbers = ids.unique(return_inverse=True)
    sums = maps.new_zeros(len(maps), len(found)).index_add(1, numbers.flatten(), maps.flatten(1))
    counts = numbers.flatten().bincount(minlength=len(found))
    return (sums / counts)[:, numbers]


def region_vectors(maps: Tensor, regions: Tensor) -> Vectors:
    """maps: (C, H, W), of one value in each region; regions: (H, W) -> the values by region id."""
    ids, places = np.unique(regions.cpu().numpy(), return_index=True)
    values = maps.detach().float().cpu().numpy().reshape(len(maps), -1)[:, places]
    return {int(region): values[:, column] for column, region in enumerate(ids)}


def paint_regions(vectors: Vectors, regions: Tensor) -> Tensor:
    """regions: (H, W), every id of which has a vector -> (n_features, H, W) float32."""
    ids, numbers = regions.unique(return_inverse=True)
    values = np.stack([vectors[region] for region in ids.tolist()], axis=1)
    return torch.from_numpy(values).to(regions.device, torch.float32)[:, numbers]


def labels_of(regions: Tensor, labels: Tensor) -> dict[int, int]:
    """For each region id of (H, W) the label, of (H, W), that most of its pixels have."""
    pairs, counts = torch.stack([regions.flatten().long(), labels.flatten().long()]).unique(dim=1, return_counts=True)
    by_size = pairs[:, counts.argsort(stable=True)].T.tolist()
    return dict(by_size)  # the largest comes last, and stays


def nearest_face(own: Vectors, table: FeatureTable) -> Vectors:
    """For each part of `own` the features of one training face: the one whose parts, together, are the nearest.

    Candidates are rows 0.. of as many faces as the inner lips have rows; a part with fewer rows takes its last. A part
    that the table does not know counts for nothing and keeps its own features.
    """
    known = [part for part in own if part in table]
    if not known:
        return own
    faces = np.arange(len(table[CANDIDATE_PART]) if CANDIDATE_PART in table else max(map(len, table.values())))
    distances = sum(np.square(_row(table[part], faces) - own[part]).sum(axis=1) for part in known)
    chosen = np.argmin(distances)
    return {part: _row(table[part], chosen) if part in table else vector for part, vector in own.items()}


def _row(rows: NDArray[np.floating], index: NDArray[np.integer] | np.integer) -> NDArray[np.floating]:
    """Without the last column, which is no feature."""
    return rows[np.minimum(index, len(rows) - 1), :-1]


def drawn_rows(labels: Mapping[int, int], table: FeatureTable, seed: int) -> Vectors:
    """For each region one row of its label's entry, by the region's id: the same in every frame. A label that the table
    does not know gets the table's mean. labels: region id -> label."""
    mean = np.concatenate(list(table.values()))[:, :-1].mean(axis=0)
    return {region: _drawn(table[label], region, seed) if label in table else mean for region, label in labels.items()}


def _drawn(rows: NDArray[np.floating], region: int, seed: int) -> NDArray[np.floating]:
    return rows[np.random.default_rng([seed, region]).integers(len(rows)), :-1]
