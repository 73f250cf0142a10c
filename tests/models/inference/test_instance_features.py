"""How regions look: surveyed, described by mixtures, drawn, and kept."""

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
from tests.tiny import street_clip
from util.errors import UserError

RNG = np.random.default_rng(0)


def rows(means, spread=0.02, each=40):
    features = np.concatenate([RNG.normal(mean, spread, (each, len(mean))) for mean in means])
    return np.column_stack([features, np.full(len(features), 0.5)])


TABLE = {0: rows([(0.5, 0.5)]), 3: rows([(-0.6, 0.1), (0.6, -0.1)]), 4: np.array([[0.1, 0.2, 1.0]])}


def test_feature_mixture_is_fitted_per_label():
    mixtures = fit_mixtures(TABLE, seed=0)
    drawn = {
        label: np.array([mixture.sample(np.random.default_rng([1, i])) for i in range(300)])
        for label, mixture in mixtures.items()
    }
    assert np.allclose(drawn[0].mean(axis=0), 0.5, atol=0.02) and drawn[0].std() < 0.05
    sides = drawn[3][:, 0] > 0
    assert 0.4 < sides.mean() < 0.6  # both looks of a label are drawn, and nothing in the middle
    assert np.abs(drawn[3][:, 0]).min() > 0.4
    assert np.allclose(drawn[4].mean(axis=0), (0.1, 0.2), atol=0.02)


def test_sampled_features_stay_in_the_encoder_range():
    wide = fit_mixture(RNG.normal(0.9, 0.5, (30, 2)), seed=0)
    assert max(np.abs(wide.sample(np.random.default_rng(i))).max() for i in range(50)) == 1


def test_region_features_are_constant_per_region_and_depend_on_the_seed():
    mixtures = fit_mixtures(TABLE, seed=0)
    first = sample_mixture_features({26001: 3, 26002: 3, 5: 0}, mixtures, seed=1)
    later = sample_mixture_features({5: 0, 26002: 3, 7: 4}, mixtures, seed=1)
    assert np.array_equal(first[5], later[5]) and np.array_equal(first[26002], later[26002])
    assert not np.array_equal(first[26001], first[26002])  # each car its own
    assert not np.array_equal(first[5], sample_mixture_features({5: 0}, mixtures, seed=2)[5])
    assert np.isfinite(
        sample_mixture_features({1: 30}, mixtures, seed=1)[1]
    ).all()  # a label that training never saw


def test_video_is_generated_with_one_feature_vector_per_region():
    clip = street_clip(3, 16, 16, batch=2)
    table = {label: rows([(0.1 * label, -0.1 * label)]) for label in range(5)}
    mixtures = fit_mixtures(table, seed=0)
    maps = sample_feature_maps(
        lambda labels: sample_mixture_features(labels, mixtures, seed=3), clip, is_face=False
    )
    assert maps.shape == (2, 3, 2, 16, 16)
    same = replace(
        clip, condition=torch.zeros_like(clip.condition)
    )  # one label, so a region never changes its
    maps = sample_feature_maps(
        lambda labels: sample_mixture_features(labels, mixtures, seed=3), same, is_face=False
    )
    for region in clip.instance.unique():
        assert len(maps.movedim(2, -1)[clip.instance[:, :, 0] == region].unique(dim=0)) == 1


@torch.no_grad()
def test_encoded_features_have_a_row_for_every_region_of_a_label():
    encoder = Encoder(EncoderConfig(3, 2, 1))
    clip = street_clip(2, 16, 16)
    clip = replace(clip, condition=(clip.instance * 2).byte())
    frames = [clip.slice_frames(t, t + 1) for t in range(2)]
    table = encode_dataset_features(encoder, frames, is_face=False, device=torch.device("cpu"))
    assert set(table) == {0, 2, 4} and all(found.shape == (2, 4) for found in table.values())
    for t, frame in enumerate(frames):
        own = encoder.model(frame.image[:, 0])
        for region in range(3):
            where = frame.instance[0, 0, 0] == region
            assert np.allclose(table[2 * region][t, :3], own[0][:, where].mean(dim=1), atol=1e-5)
            assert table[2 * region][t, 3] == pytest.approx(float(where.float().mean()))


def test_feature_clusters_are_saved_and_loaded(tmp_path):
    save_feature_clusters(tmp_path, TABLE, seed=0)
    assert all(
        np.array_equal(read_feature_table(tmp_path / "features.npy")[key], TABLE[key])
        for key in TABLE
    )
    mixtures = fit_mixtures(TABLE, seed=0)
    labels = {1: 0, 26001: 3}
    drawn = read_feature_sampler(tmp_path, 2, use_table_rows=False, seed=4)(labels)
    expected = sample_mixture_features(labels, mixtures, seed=4)
    assert all(np.array_equal(drawn[region], expected[region]) for region in labels)
    real = read_feature_sampler(tmp_path, 2, use_table_rows=True, seed=4)(labels)
    assert (TABLE[3][:, :2] == real[26001]).all(axis=1).any()  # one that training saw
    with pytest.raises(UserError, match="--feat_num 5: .* have 2 features"):
        read_feature_sampler(tmp_path, 5, use_table_rows=False, seed=4)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="appearances.npz is not there"):
        read_mixtures(tmp_path / "appearances.npz")
    np.savez(tmp_path / "appearances.npz", **{"3_weights": np.array([{}], dtype=object)})
    with pytest.raises(UserError, match="holds no appearances"):
        read_mixtures(tmp_path / "appearances.npz")
    (tmp_path / "appearances.npz").write_bytes(b"text")
    with pytest.raises(UserError, match="holds no appearances"):
        read_mixtures(tmp_path / "appearances.npz")
