"""How regions look (paper, section 3.4: feature embedding): encoded from real pictures in training, surveyed when it
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

from models.conditions import pad_clip
from models.regions import Vectors, drawn_rows, labels_of, paint_regions, region_vectors
from models.single import Encoder
from util.clip import Clip
from util.errors import UserError
from util.feature_table import FeatureTable, read_feature_table, write_feature_table
from util.files import replacing

TABLE, MIXTURES = "features.npy", "appearances.npz"
MOST_COMPONENTS, ROWS_PER_COMPONENT = 10, 20
SMALLEST_VARIANCE = 1e-4  # of features in [-1, 1]; keeps labels that were seen once or twice from being points

Looks = Callable[[Mapping[int, int]], Vectors]  # region id -> label, to region id -> features


def regions_of(clip: Clip) -> Tensor:
    """(B, T, 1, H, W) ids."""
    return clip.condition if clip.instance is None else clip.instance


def encoded(encoder: Encoder, clip: Clip) -> Tensor:
    """(B, T, n_features, H, W): how the regions of the real pictures look, each frame by itself."""
    assert clip.picture is not None
    maps = encoder(clip.picture.flatten(0, 1), regions_of(clip).flatten(0, 1))
    return maps.unflatten(0, clip.picture.shape[:2])


def painted(looks: Looks, clip: Clip, faces: bool) -> Tensor:
    """(B, T, n_features, H, W): looks for every region. faces: regions are parts, and their own labels."""
    regions = regions_of(clip)
    labels = regions if faces else clip.condition
    maps = [paint_regions(looks(labels_of(ids, own)), ids)
            for ids, own in zip(regions.flatten(0, 2), labels.flatten(0, 2), strict=True)]
    return torch.stack(maps).unflatten(0, regions.shape[:2])


@torch.no_grad()
def survey(encoder: Encoder, frames: Iterable[Clip], faces: bool, device: torch.device) -> FeatureTable:
    """Of every region in these frames (B = T = 1), under its label: its features, and its share of the picture."""
    rows: dict[int, list[NDArray[np.floating]]] = {}
    for frame in frames:
        padded = pad_clip(frame, encoder.config.size_multiple).to(device)
        ids = regions_of(padded)[0, 0, 0]
        labels = labels_of(ids, ids if faces else padded.condition[0, 0, 0])
        for region, vector in region_vectors(encoded(encoder, padded)[0, 0], ids).items():
            share = float((ids == region).float().mean())
            rows.setdefault(labels[region], []).append(np.append(vector, share))
    return {label: np.stack(found) for label, found in sorted(rows.items())}


@dataclass(frozen=True)
class Mixture:
    """Of K Gaussians over F features. weights: (K,), sum 1. means: (K, F). covariances: (K, F, F)."""

    weights: NDArray[np.floating]
    means: NDArray[np.floating]
    covariances: NDArray[np.floating]

    def draw(self, rng: np.random.Generator) -> NDArray[np.floating]:
        """(F,), in the encoder's range."""
        k = rng.choice(len(self.weights), p=self.weights)
        return np.clip(rng.multivariate_normal(self.means[k], self.covariances[k]), -1, 1)


def fit_mixture(rows: NDArray[np.floating], seed: int) -> Mixture:
    """rows: (n, F), n >= 1. The more rows, the more Gaussians."""
    different = len(np.unique(rows, axis=0))
    count = int(np.clip(different // ROWS_PER_COMPONENT, 1, MOST_COMPONENTS))
    model = GaussianMixture(count, reg_covar=SMALLEST_VARIANCE, max_iter=500, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that still creeps is as good to draw from
        model.fit(np.repeat(rows, 2, axis=0) if len(rows) == 1 else rows)
    return Mixture(model.weights_, model.means_, model.covariances_)


def fit_mixtures(table: FeatureTable, seed: int) -> dict[int, Mixture]:
    """For every label."""
    return {label: fit_mixture(rows[:, :-1].astype(np.float64), seed) for label, rows in table.items()}


def save_mixtures(path: Path, mixtures: Mapping[int, Mixture]) -> None:
    arrays = {f"{label}_{name}": value for label, mixture in mixtures.items() for name, value in vars(mixture).items()}
    with replacing(path) as temporary:
        np.savez(temporary, **arrays)


def save_appearances(folder: Path, table: FeatureTable, seed: int) -> None:
    """The table in the published form, and the mixtures that describe it."""
    write_feature_table(folder / TABLE, table)
    save_mixtures(folder / MIXTURES, fit_mixtures(table, seed))


def read_mixtures(path: Path) -> dict[int, Mixture]:
    """UserError for a file that is not there or is something else."""
    if not path.is_file():
        raise UserError(f"{path} is not there: train.py --label_feat writes it when it ends")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels = {int(name.split("_")[0]) for name in arrays}
            return {label: Mixture(*(arrays[f"{label}_{part}"] for part in ("weights", "means", "covariances")))
                    for label in labels}
    except (ValueError, KeyError, OSError, TypeError, AttributeError) as problem:
        raise UserError(f"{path} holds no appearances: {problem}: train with --label_feat again") from None


def drawn_vectors(labels: Mapping[int, int], mixtures: Mapping[int, Mixture], seed: int) -> Vectors:
    """For each region a draw of its label's mixture, by the region's id: the same in every frame. A label that
    training never saw gets what all the others have in common."""
    mean = np.concatenate([mixture.means for mixture in mixtures.values()]).mean(axis=0)
    return {region: mixtures[label].draw(np.random.default_rng([seed, region])) if label in mixtures else mean
            for region, label in labels.items()}


def load_looks(folder: Path, n_features: int, rows: bool, seed: int) -> Looks:
    """Of the run in `folder`. rows: looks of real training regions (`--load_features`), not of mixtures."""
    if rows:
        table = read_feature_table(folder / TABLE)
        found, looks = next(iter(table.values())).shape[1] - 1, partial(drawn_rows, table=table, seed=seed)
    else:
        mixtures = read_mixtures(folder / MIXTURES)
        found = next(iter(mixtures.values())).means.shape[1]
        looks = partial(drawn_vectors, mixtures=mixtures, seed=seed)
    if found != n_features:
        raise UserError(f"--feat_num {n_features}: the appearances in {folder} have {found} features: give that number")
    return looks
