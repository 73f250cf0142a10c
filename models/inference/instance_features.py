"""How regions look (paper, section 3.4: feature embedding): encoded from real images in training, surveyed when it
ends, drawn in test. A region is an instance; where there is no instance map, all that bears one label."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from models.inference.feature_table import FeatureTable, read_feature_table, write_feature_table
from models.inference.region_features import (
    RegionFeatures,
    extract_region_features,
    fill_regions,
    find_majority_labels,
    sample_table_features,
)
from models.networks.input_encoding import pad_clip
from models.networks.pix2pixhd import Encoder
from util.clip import Clip
from util.errors import UserError
from util.io.atomic import atomic_write

FEATURE_TABLE_FILE, FEATURE_MIXTURES_FILE = "features.npy", "appearances.npz"
_MAX_COMPONENTS, _ROWS_PER_COMPONENT = 10, 20
_MIN_VARIANCE = (
    1e-4  # of features in [-1, 1]; keeps labels that were seen once or twice from being points
)

FeatureSampler = Callable[
    [Mapping[int, int]], RegionFeatures
]  # region id -> label, to region id -> features


def get_regions(clip: Clip) -> Tensor:
    """(B, T, 1, H, W) ids."""
    return clip.condition if clip.instance is None else clip.instance


def encode_feature_maps(encoder: Encoder, clip: Clip) -> Tensor:
    """(B, T, n_features, H, W): how the regions of the real images look, each frame by itself."""
    assert clip.image is not None
    maps = encoder(clip.image.flatten(0, 1), get_regions(clip).flatten(0, 1))
    return maps.unflatten(0, clip.image.shape[:2])


def sample_feature_maps(feature_sampler: FeatureSampler, clip: Clip, is_face: bool) -> Tensor:
    """(B, T, n_features, H, W): looks for every region. faces: regions are parts, and their own labels."""
    regions = get_regions(clip)
    labels = regions if is_face else clip.condition
    maps = [
        fill_regions(feature_sampler(find_majority_labels(ids, own)), ids)
        for ids, own in zip(regions.flatten(0, 2), labels.flatten(0, 2), strict=True)
    ]
    return torch.stack(maps).unflatten(0, regions.shape[:2])


@torch.no_grad()
def encode_dataset_features(
    encoder: Encoder, frames: Iterable[Clip], is_face: bool, device: torch.device
) -> FeatureTable:
    """Of every region in these frames (B = T = 1), under its label: its features, and its share of the image."""
    rows: dict[int, list[NDArray[np.floating]]] = {}
    for frame in frames:
        padded = pad_clip(frame, encoder.config.size_multiple).to(device)
        ids = get_regions(padded)[0, 0, 0]
        labels = find_majority_labels(ids, ids if is_face else padded.condition[0, 0, 0])
        for region, vector in extract_region_features(
            encode_feature_maps(encoder, padded)[0, 0], ids
        ).items():
            share = float((ids == region).float().mean())
            rows.setdefault(labels[region], []).append(np.append(vector, share))
    return {label: np.stack(found) for label, found in sorted(rows.items())}


@dataclass(frozen=True)
class Mixture:
    """Of K Gaussians over F features. weights: (K,), sum 1. means: (K, F). covariances: (K, F, F)."""

    weights: NDArray[np.floating]
    means: NDArray[np.floating]
    covariances: NDArray[np.floating]

    def sample(self, rng: np.random.Generator) -> NDArray[np.floating]:
        """(F,), in the encoder's range."""
        k = rng.choice(len(self.weights), p=self.weights)
        return np.clip(rng.multivariate_normal(self.means[k], self.covariances[k]), -1, 1)


def fit_mixture(rows: NDArray[np.floating], seed: int) -> Mixture:
    """rows: (n, F), n >= 1. The more rows, the more Gaussians."""
    different = len(np.unique(rows, axis=0))
    count = int(np.clip(different // _ROWS_PER_COMPONENT, 1, _MAX_COMPONENTS))
    model = GaussianMixture(count, reg_covar=_MIN_VARIANCE, max_iter=500, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # a fit that still creeps is as good to draw from
        model.fit(np.repeat(rows, 2, axis=0) if len(rows) == 1 else rows)
    return Mixture(model.weights_, model.means_, model.covariances_)


def fit_mixtures(table: FeatureTable, seed: int) -> dict[int, Mixture]:
    """For every label."""
    return {
        label: fit_mixture(rows[:, :-1].astype(np.float64), seed) for label, rows in table.items()
    }


def save_mixtures(path: Path, mixtures: Mapping[int, Mixture]) -> None:
    arrays = {
        f"{label}_{name}": value
        for label, mixture in mixtures.items()
        for name, value in vars(mixture).items()
    }
    with atomic_write(path) as temporary:
        np.savez(temporary, **arrays)


def save_feature_clusters(folder: Path, table: FeatureTable, seed: int) -> None:
    """The table in the published form, and the mixtures that describe it."""
    write_feature_table(folder / FEATURE_TABLE_FILE, table)
    save_mixtures(folder / FEATURE_MIXTURES_FILE, fit_mixtures(table, seed))


def read_mixtures(path: Path) -> dict[int, Mixture]:
    """UserError for a file that is not there or is something else."""
    if not path.is_file():
        raise UserError(f"{path} is not there: train.py --label_feat writes it when it ends")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels = {int(name.split("_")[0]) for name in arrays}
            return {
                label: Mixture(
                    *(arrays[f"{label}_{part}"] for part in ("weights", "means", "covariances"))
                )
                for label in labels
            }
    except (ValueError, KeyError, OSError, TypeError, AttributeError) as problem:
        raise UserError(
            f"{path} holds no appearances: {problem}: train with --label_feat again"
        ) from None


def sample_mixture_features(
    labels: Mapping[int, int], mixtures: Mapping[int, Mixture], seed: int
) -> RegionFeatures:
    """For each region a draw of its label's mixture, by the region's id: the same in every frame. A label that
    training never saw gets what all the others have in common."""
    mean = np.concatenate([mixture.means for mixture in mixtures.values()]).mean(axis=0)
    return {
        region: mixtures[label].sample(np.random.default_rng([seed, region]))
        if label in mixtures
        else mean
        for region, label in labels.items()
    }


def read_feature_sampler(
    folder: Path, n_features: int, use_table_rows: bool, seed: int
) -> FeatureSampler:
    """Of the run in `folder`. rows: looks of real training regions (`--load_features`), not of mixtures."""
    if use_table_rows:
        table = read_feature_table(folder / FEATURE_TABLE_FILE)
        found, looks = (
            next(iter(table.values())).shape[1] - 1,
            partial(sample_table_features, table=table, seed=seed),
        )
    else:
        mixtures = read_mixtures(folder / FEATURE_MIXTURES_FILE)
        found = next(iter(mixtures.values())).means.shape[1]
        looks = partial(sample_mixture_features, mixtures=mixtures, seed=seed)
    if found != n_features:
        raise UserError(
            f"--feat_num {n_features}: the appearances in {folder} have {found} features: give that number"
        )
    return looks
