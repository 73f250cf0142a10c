"""Instance features (paper, section 3.4): one vector per region that controls the region's appearance.

Features are encoded from real images in training, summarized per label when training ends, and sampled
in test. A region is an instance; without an instance map, all pixels of one label.
"""

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
from models.networks.input_encoding import pad_clip
from models.networks.pix2pixhd import Encoder
from util.clip import Clip
from util.errors import UserError
from util.io.atomic import atomic_write

RegionFeatures = Mapping[int, NDArray[np.floating]]  # region id -> (n_features,)
FeatureSampler = Callable[[Mapping[int, int]], RegionFeatures]  # from region id -> label

FEATURE_TABLE_FILE = "features.npy"
FEATURE_MIXTURES_FILE = "appearances.npz"

_MAX_COMPONENTS = 10
_ROWS_PER_COMPONENT = 20
# Of features in [-1, 1]: keeps the mixture of a rare label from collapsing to a point.
_MIN_VARIANCE = 1e-4
# The inner lips. As published: the number of candidate training faces is the number of their rows.
_CANDIDATE_PART = 6


# Regions of one image


def get_regions(clip: Clip) -> Tensor:
    """Return the region ids of a clip, (B, T, 1, H, W)."""
    return clip.condition if clip.instance is None else clip.instance


def find_majority_labels(regions: Tensor, labels: Tensor) -> dict[int, int]:
    """Map each region id of (H, W) to the label, of (H, W), that most of its pixels have."""
    ids_and_labels = torch.stack([regions.flatten().long(), labels.flatten().long()])
    pairs, counts = ids_and_labels.unique(dim=1, return_counts=True)
    by_size = pairs[:, counts.argsort(stable=True)].T.tolist()
    return dict(by_size)  # the most frequent label comes last and replaces the others


def extract_region_features(feature_maps: Tensor, regions: Tensor) -> RegionFeatures:
    """Read the features of each region from maps (C, H, W) that are constant within regions (H, W)."""
    ids, first_pixels = np.unique(regions.cpu().numpy(), return_index=True)
    values = feature_maps.detach().float().cpu().numpy().reshape(len(feature_maps), -1)
    vectors = values[:, first_pixels]
    return {int(region): vectors[:, i] for i, region in enumerate(ids)}


def fill_regions(features: RegionFeatures, regions: Tensor) -> Tensor:
    """Fill each region of (H, W) with its features: (n_features, H, W) float32."""
    ids, index_map = regions.unique(return_inverse=True)
    vectors = np.stack([features[region] for region in ids.tolist()], axis=1)
    return torch.from_numpy(vectors).to(regions.device, torch.float32)[:, index_map]


# Encoding


def encode_feature_maps(encoder: Encoder, clip: Clip) -> Tensor:
    """Encode the regions of the real images, each frame by itself: (B, T, n_features, H, W)."""
    assert clip.image is not None
    maps = encoder(clip.image.flatten(0, 1), get_regions(clip).flatten(0, 1))
    return maps.unflatten(0, clip.image.shape[:2])


@torch.no_grad()
def encode_dataset_features(
    encoder: Encoder, frames: Iterable[Clip], is_face: bool, device: torch.device
) -> FeatureTable:
    """Encode every region of all frames.

    Args:
        encoder: the trained encoder.
        frames: clips with B = T = 1 and real images.
        is_face: region ids are also the labels.
        device: the encoder's device.

    Returns:
        For each label a row per region: its features, then the fraction of the image that it covers.
    """
    rows: dict[int, list[NDArray[np.floating]]] = {}
    for frame in frames:
        padded = pad_clip(frame, encoder.config.size_multiple).to(device)
        ids = get_regions(padded)[0, 0, 0]
        label_map = ids if is_face else padded.condition[0, 0, 0]
        labels = find_majority_labels(ids, label_map)
        feature_maps = encode_feature_maps(encoder, padded)[0, 0]
        for region, vector in extract_region_features(feature_maps, ids).items():
            area = float((ids == region).float().mean())
            rows.setdefault(labels[region], []).append(np.append(vector, area))
    return {label: np.stack(label_rows) for label, label_rows in sorted(rows.items())}


def save_feature_clusters(folder: Path, table: FeatureTable, seed: int) -> None:
    """Write the table in the published format, and the mixtures fitted to it."""
    write_feature_table(folder / FEATURE_TABLE_FILE, table)
    save_mixtures(folder / FEATURE_MIXTURES_FILE, fit_mixtures(table, seed))


# Mixtures of Gaussians, one per label


@dataclass(frozen=True)
class Mixture:
    """A mixture of K Gaussians over F features.

    Attributes:
        weights: (K,), with sum 1.
        means: (K, F).
        covariances: (K, F, F).
    """

    weights: NDArray[np.floating]
    means: NDArray[np.floating]
    covariances: NDArray[np.floating]

    def sample(self, rng: np.random.Generator) -> NDArray[np.floating]:
        """Sample a feature vector (F,), clipped to the encoder's range [-1, 1]."""
        k = rng.choice(len(self.weights), p=self.weights)
        return np.clip(rng.multivariate_normal(self.means[k], self.covariances[k]), -1, 1)


def fit_mixture(rows: NDArray[np.floating], seed: int) -> Mixture:
    """Fit a mixture to (n, F) features, n >= 1, with more Gaussians for more distinct rows."""
    n_distinct = len(np.unique(rows, axis=0))
    n_components = int(np.clip(n_distinct // _ROWS_PER_COMPONENT, 1, _MAX_COMPONENTS))
    model = GaussianMixture(n_components, reg_covar=_MIN_VARIANCE, max_iter=500, random_state=seed)
    if len(rows) == 1:
        rows = np.repeat(rows, 2, axis=0)  # scikit-learn needs two samples
    with warnings.catch_warnings():
        # A fit that still improves slowly is good enough to sample from.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows)
    return Mixture(model.weights_, model.means_, model.covariances_)


def fit_mixtures(table: FeatureTable, seed: int) -> dict[int, Mixture]:
    """Fit a mixture to the features of every label, without the area column."""
    return {
        label: fit_mixture(rows[:, :-1].astype(np.float64), seed) for label, rows in table.items()
    }


def save_mixtures(path: Path, mixtures: Mapping[int, Mixture]) -> None:
    """Write the mixtures as arrays `LABEL_FIELD` of an .npz file."""
    arrays = {}
    for label, mixture in mixtures.items():
        for name, value in vars(mixture).items():
            arrays[f"{label}_{name}"] = value
    with atomic_write(path) as temporary:
        np.savez(temporary, **arrays)


def read_mixtures(path: Path) -> dict[int, Mixture]:
    """Read the mixtures of every label.

    Raises:
        UserError: the file is missing or holds something else.
    """
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: train.py --label_feat writes it at the end of training"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels = {int(name.split("_")[0]) for name in arrays}
            return {label: _read_mixture(arrays, label) for label in labels}
    except (ValueError, KeyError, OSError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} holds no mixtures of instance features ({error}): train with --label_feat again"
        ) from None


def _read_mixture(arrays: Mapping[str, NDArray[np.floating]], label: int) -> Mixture:
    return Mixture(
        weights=arrays[f"{label}_weights"],
        means=arrays[f"{label}_means"],
        covariances=arrays[f"{label}_covariances"],
    )


# Sampling


def read_feature_sampler(
    folder: Path, n_features: int, use_table_rows: bool, seed: int
) -> FeatureSampler:
    """Build the sampler of a run.

    Args:
        folder: the run's folder.
        n_features: number of features that the generators receive.
        use_table_rows: sample features of training regions (`--load_features`) instead of mixtures.
        seed: of the samples.

    Raises:
        UserError: the file is missing, or holds another number of features.
    """
    sampler: FeatureSampler
    if use_table_rows:
        table = read_feature_table(folder / FEATURE_TABLE_FILE)
        n_stored = next(iter(table.values())).shape[1] - 1
        sampler = partial(sample_table_features, table=table, seed=seed)
    else:
        mixtures = read_mixtures(folder / FEATURE_MIXTURES_FILE)
        n_stored = next(iter(mixtures.values())).means.shape[1]
        sampler = partial(sample_mixture_features, mixtures=mixtures, seed=seed)
    if n_stored != n_features:
        raise UserError(
            f"--feat_num {n_features} does not match the {n_stored} instance features stored in {folder}: "
            f"use --feat_num {n_stored}"
        )
    return sampler


def sample_feature_maps(feature_sampler: FeatureSampler, clip: Clip, is_face: bool) -> Tensor:
    """Sample features for every region of a clip: (B, T, n_features, H, W).

    Args:
        feature_sampler: returns the features of the regions of one frame.
        clip: the condition and, if it has one, the instance map.
        is_face: region ids are also the labels.
    """
    regions = get_regions(clip)
    label_maps = regions if is_face else clip.condition
    maps = []
    for ids, labels in zip(regions.flatten(0, 2), label_maps.flatten(0, 2), strict=True):
        features = feature_sampler(find_majority_labels(ids, labels))
        maps.append(fill_regions(features, ids))
    return torch.stack(maps).unflatten(0, regions.shape[:2])


def sample_mixture_features(
    labels: Mapping[int, int], mixtures: Mapping[int, Mixture], seed: int
) -> RegionFeatures:
    """Sample from the mixture of each region's label.

    The sample depends on the seed and the region id alone, so it is the same in every frame. A label
    that training did not see gets the mean over all mixtures.

    Args:
        labels: region id -> label.
        mixtures: label -> mixture.
        seed: of the samples.
    """
    mean = np.concatenate([mixture.means for mixture in mixtures.values()]).mean(axis=0)
    features = {}
    for region, label in labels.items():
        if label in mixtures:
            features[region] = mixtures[label].sample(np.random.default_rng([seed, region]))
        else:
            features[region] = mean
    return features


def sample_table_features(
    labels: Mapping[int, int], table: FeatureTable, seed: int
) -> RegionFeatures:
    """Sample a row of the table for each region.

    The sample depends on the seed and the region id alone, so it is the same in every frame. A label
    that is not in the table gets the mean over the table.

    Args:
        labels: region id -> label.
        table: label -> rows.
        seed: of the samples.
    """
    mean = np.concatenate(list(table.values()))[:, :-1].mean(axis=0)
    features = {}
    for region, label in labels.items():
        if label in table:
            rows = table[label]
            index = np.random.default_rng([seed, region]).integers(len(rows))
            features[region] = rows[index, :-1]
        else:
            features[region] = mean
    return features


def find_nearest_face(features: RegionFeatures, table: FeatureTable) -> RegionFeatures:
    """Replace the features of a face by those of the nearest training face, over all parts together.

    As published: candidates are the row indices of the inner lips, and a part with fewer rows uses its
    last one. A part that is not in the table does not count and keeps its features.

    Args:
        features: part id -> features of the face.
        table: part id -> rows, one per training face.
    """
    parts = [part for part in features if part in table]
    if not parts:
        return features
    candidate_parts = [_CANDIDATE_PART] if _CANDIDATE_PART in table else list(table)
    candidates = np.arange(max(len(table[part]) for part in candidate_parts))
    distances = sum(
        np.square(_get_row_features(table[part], candidates) - features[part]).sum(axis=1)
        for part in parts
    )
    nearest = np.argmin(distances)
    return {
        part: _get_row_features(table[part], nearest) if part in table else vector
        for part, vector in features.items()
    }


def _get_row_features(
    rows: NDArray[np.floating], index: NDArray[np.integer] | np.integer
) -> NDArray[np.floating]:
    """Return rows by index (the last row beyond the end), without the last column, which is no feature."""
    return rows[np.minimum(index, len(rows) - 1), :-1]
