"""Tests of instance features: encoding, mixtures, sampling and files."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.inference.feature_table import read_feature_table
from models.inference.instance_features import (
    encode_dataset_features,
    fit_mixture,
    fit_mixtures,
    read_feature_sampler,
    read_mixtures,
    sample_feature_maps,
    sample_mixture_features,
    save_feature_clusters,
)
from models.networks.pix2pixhd import Encoder, EncoderConfig
from tests.tiny import split_frames, street_clip
from util.errors import UserError

RNG = np.random.default_rng(0)


def make_rows(means, spread=0.02, n_per_mean=40):
    """Rows of a feature table, normally distributed around the means."""
    features = np.concatenate([RNG.normal(mean, spread, (n_per_mean, len(mean))) for mean in means])
    return np.column_stack([features, np.full(len(features), 0.5)])


TABLE = {
    0: make_rows([(0.5, 0.5)]),
    3: make_rows([(-0.6, 0.1), (0.6, -0.1)]),
    4: np.array([[0.1, 0.2, 1.0]]),
}


def test_feature_mixture_is_fitted_per_label():
    samples = {
        label: np.array([mixture.sample(np.random.default_rng([1, i])) for i in range(300)])
        for label, mixture in fit_mixtures(TABLE, seed=0).items()
    }
    assert np.allclose(samples[0].mean(axis=0), 0.5, atol=0.02) and samples[0].std() < 0.05
    # both components of label 3 are sampled, and nothing between them
    assert 0.4 < (samples[3][:, 0] > 0).mean() < 0.6
    assert np.abs(samples[3][:, 0]).min() > 0.4
    assert np.allclose(samples[4].mean(axis=0), (0.1, 0.2), atol=0.02)


def test_sampled_features_stay_in_the_encoder_range():
    mixture = fit_mixture(RNG.normal(0.9, 0.5, (30, 2)), seed=0)
    samples = [mixture.sample(np.random.default_rng(i)) for i in range(50)]
    assert max(np.abs(sample).max() for sample in samples) == 1


def test_region_features_are_constant_per_region_and_depend_on_the_seed():
    mixtures = fit_mixtures(TABLE, seed=0)
    first = sample_mixture_features({26001: 3, 26002: 3, 5: 0}, mixtures, seed=1)
    second = sample_mixture_features({5: 0, 26002: 3, 7: 4}, mixtures, seed=1)
    assert np.array_equal(first[5], second[5]) and np.array_equal(first[26002], second[26002])
    assert not np.array_equal(first[26001], first[26002])  # two regions of one label differ
    assert not np.array_equal(first[5], sample_mixture_features({5: 0}, mixtures, seed=2)[5])
    unseen_label = sample_mixture_features({1: 30}, mixtures, seed=1)
    assert np.isfinite(unseen_label[1]).all()


def test_video_is_generated_with_one_feature_vector_per_region():
    clip = street_clip(3, 16, 16, batch=2)
    table = {label: make_rows([(0.1 * label, -0.1 * label)]) for label in range(5)}
    mixtures = fit_mixtures(table, seed=0)

    def sampler(labels):
        return sample_mixture_features(labels, mixtures, seed=3)

    maps = sample_feature_maps(sampler, clip, is_face=False)
    assert maps.shape == (2, 3, 2, 16, 16)
    # with one label everywhere, the label of a region cannot change between frames
    clip = replace(clip, condition=torch.zeros_like(clip.condition))
    maps = sample_feature_maps(sampler, clip, is_face=False)
    for region in clip.instance.unique():
        vectors = maps.movedim(2, -1)[clip.instance[:, :, 0] == region]
        assert len(vectors.unique(dim=0)) == 1


@torch.no_grad()
def test_encoded_features_have_a_row_for_every_region_of_a_label():
    encoder = Encoder(EncoderConfig(n_features=3, width=2, n_downsample=1))
    clip = street_clip(2, 16, 16)
    clip = replace(clip, condition=(clip.instance * 2).byte())
    frames = split_frames(clip)
    table = encode_dataset_features(encoder, frames, is_face=False, device=torch.device("cpu"))
    assert set(table) == {0, 2, 4} and all(rows.shape == (2, 4) for rows in table.values())
    for t, frame in enumerate(frames):
        features = encoder.model(frame.image[:, 0])[0]
        for region in range(3):
            mask = frame.instance[0, 0, 0] == region
            row = table[2 * region][t]
            assert np.allclose(row[:3], features[:, mask].mean(dim=1), atol=1e-5)
            assert row[3] == pytest.approx(float(mask.float().mean()))


def test_feature_clusters_are_saved_and_loaded(tmp_path):
    save_feature_clusters(tmp_path, TABLE, seed=0)
    table = read_feature_table(tmp_path / "features.npy")
    assert all(np.array_equal(table[label], TABLE[label]) for label in TABLE)
    labels = {1: 0, 26001: 3}
    sampled = read_feature_sampler(tmp_path, 2, use_table_rows=False, seed=4)(labels)
    expected = sample_mixture_features(labels, fit_mixtures(TABLE, seed=0), seed=4)
    assert all(np.array_equal(sampled[region], expected[region]) for region in labels)
    from_rows = read_feature_sampler(tmp_path, 2, use_table_rows=True, seed=4)(labels)
    assert (TABLE[3][:, :2] == from_rows[26001]).all(axis=1).any()
    with pytest.raises(UserError, match="--feat_num 5 does not match the 2 instance features"):
        read_feature_sampler(tmp_path, 5, use_table_rows=False, seed=4)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "appearances.npz"
    with pytest.raises(UserError, match=r"appearances\.npz does not exist"):
        read_mixtures(path)
    np.savez(path, **{"3_weights": np.array([{}], dtype=object)})
    with pytest.raises(UserError, match="holds no mixtures"):
        read_mixtures(path)
    path.write_bytes(b"text")
    with pytest.raises(UserError, match="holds no mixtures"):
        read_mixtures(path)
