"""Tests of the first images: real ones, zeros, and single-image networks that are freed after use."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.inference import first_frame, single_image
from models.inference.feature_table import write_feature_table
from models.inference.first_frame import (
    FirstFrameConfig,
    SingleImageProvider,
    build_first_image_provider,
    get_real_images,
    make_zero_images,
)
from models.inference.single_image import find_single_image_files
from models.networks.input_encoding import get_edges, one_hot
from models.networks.pix2pixhd import (
    Encoder,
    EncoderConfig,
    SingleImageConfig,
    build_single_image_generator,
)
from util.clip import Clip
from util.errors import UserError

N_LABELS = 5
TINY_GLOBAL = SingleImageConfig("global", N_LABELS, width=2, n_downsample=1, n_blocks=1)
WITH_FEATURES = replace(TINY_GLOBAL, kind="global_with_features", n_features=4)
ENCODER = EncoderConfig(n_features=4, width=2, n_downsample=1)


def make_street_frame(seed, size=(16, 24)):
    rng = torch.Generator().manual_seed(seed)
    return Clip(
        condition=torch.randint(0, N_LABELS, (1, 1, 1, *size), generator=rng, dtype=torch.uint8),
        image=torch.rand(1, 1, 3, *size, generator=rng) * 2 - 1,
        instance=torch.randint(0, 3, (1, 1, 1, *size), generator=rng, dtype=torch.int32),
        names=((f"street/{seed}",),),
    )


def make_face_frame(seed):
    rng = torch.Generator().manual_seed(seed)
    return replace(make_street_frame(seed), condition=torch.rand(1, 1, 15, 16, 24, generator=rng))


def save_network(folder, config, encoder=None, table=None):
    """Write the files of a network with random weights, and return it."""
    network = build_single_image_generator(config)
    torch.save(network.state_dict(), folder / "latest_net_G.pth")
    if encoder:
        torch.save(encoder.state_dict(), folder / "latest_net_E.pth")
        write_feature_table(folder / "features.npy", table)
    return network


def make_provider(folder, n_labels=N_LABELS, is_face=False, seed=0):
    return SingleImageProvider(find_single_image_files(folder), n_labels, is_face, seed)


@torch.no_grad()
@pytest.mark.parametrize("edges", [False, True])
def test_every_first_frame_is_generated_from_its_own_condition_alone(tmp_path, edges):
    config = SingleImageConfig("global", N_LABELS + edges, width=2, n_downsample=2, n_blocks=1)
    network = save_network(tmp_path, config)
    frames = [make_street_frame(1), make_street_frame(2)]
    images = make_provider(tmp_path)(frames)
    assert images.shape == (1, 2, 3, 16, 24)
    for t, frame in enumerate(frames):
        condition = one_hot(frame.condition[:, 0], N_LABELS)
        if edges:
            condition = torch.cat([condition, get_edges(frame.instance[:, 0])], dim=1)
        assert torch.allclose(images[:, t], network(condition), atol=1e-6)


@torch.no_grad()
def test_a_face_takes_the_features_of_the_nearest_training_face(tmp_path):
    encoder = Encoder(ENCODER)
    rng = np.random.default_rng(0)
    n_rows = {0: 6, 1: 3, 2: 6, 6: 5}
    table = {part: rng.normal(size=(rows, 5)) / 4 for part, rows in n_rows.items()}
    config = replace(WITH_FEATURES, condition_channels=15)
    network = save_network(tmp_path, config, encoder, table)
    frames = [make_face_frame(1), make_face_frame(2)]
    images = make_provider(tmp_path, n_labels=0, is_face=True)(frames)
    for t, frame in enumerate(frames):
        parts = frame.instance[:, 0]
        encoded = encoder(frame.image[:, 0], parts)[0]
        distance = torch.zeros(5)
        for part in (0, 1, 2):
            features = encoded[:, parts[0, 0] == part][:, 0]
            candidates = torch.arange(5).clamp(max=len(table[part]) - 1)
            rows = torch.tensor(table[part][:, :4]).float()[candidates]
            distance += (rows - features).square().sum(dim=1)
        feature_map = torch.zeros(1, 4, 16, 24)
        for part in (0, 1, 2):
            row = table[part][min(int(distance.argmin()), len(table[part]) - 1), :4]
            feature_map[0, :, parts[0, 0] == part] = torch.tensor(row).float()[:, None]
        expected = network(frame.condition[:, 0], feature_map)
        assert torch.allclose(images[:, t], expected, atol=1e-5)


def test_region_features_are_constant_over_frames(tmp_path):
    rng = np.random.default_rng(0)
    table = {label: rng.normal(size=(50, 5)) for label in range(N_LABELS - 1)}
    save_network(tmp_path, WITH_FEATURES, Encoder(ENCODER), table)
    frame = make_street_frame(1)
    first, second = make_provider(tmp_path, seed=3)([frame, frame])[0]
    assert torch.equal(first, second)
    other_seed = make_provider(tmp_path, seed=4)([frame])[0, 0]
    assert not torch.allclose(first, other_seed, atol=1e-3)


def test_sizes_not_divisible_by_the_downsampling_are_padded(tmp_path):
    config = SingleImageConfig(
        "local", N_LABELS, width=2, n_downsample=2, n_blocks=0, n_enhancers=2
    )
    save_network(tmp_path, config)
    images = make_provider(tmp_path)([make_street_frame(1, (17, 30))])
    assert images.shape == (1, 1, 3, 17, 30)


@pytest.mark.parametrize("config", [TINY_GLOBAL, WITH_FEATURES], ids=lambda config: config.kind)
def test_network_is_freed_after_the_first_frames(tmp_path, monkeypatch, config):
    save_network(tmp_path, config, Encoder(ENCODER), {0: np.zeros((1, 5))})
    references = []

    def load_and_watch(*args):
        model = single_image.load_single_image_model(*args)
        parts = (model, model.netG, *model.netG.parameters())
        references.extend(weakref.ref(part) for part in parts)
        return model

    monkeypatch.setattr(first_frame, "load_single_image_model", load_and_watch)
    gc.disable()  # it must be freed without the garbage collector, which may run late
    try:
        images = make_provider(tmp_path)([make_street_frame(1)])
        assert len(references) > 3
        assert [part for part in references if part() is not None] == []
    finally:
        gc.enable()
    assert images.isfinite().all()


def test_source_precedence_and_need_for_real_images(tmp_path):
    def build(source, is_face=False):
        return build_first_image_provider(FirstFrameConfig(source, tmp_path, is_face=is_face))

    assert build("zeros") == (make_zero_images, False)
    assert build("real") == (get_real_images, True)
    with pytest.raises(UserError, match=r"latest_net_G\.pth does not exist"):
        build("single")
    save_network(tmp_path, SingleImageConfig("global", N_LABELS, width=2))
    for is_face in (False, True):
        _, needs_real_images = build("single", is_face)
        assert needs_real_images is False
    encoder = Encoder(ENCODER)
    save_network(
        tmp_path, SingleImageConfig("global", N_LABELS, width=2), encoder, {0: np.zeros((1, 5))}
    )
    for is_face in (False, True):
        _, needs_real_images = build("single", is_face)
        assert needs_real_images is is_face


def test_a_network_of_other_data_is_refused(tmp_path):
    save_network(tmp_path, SingleImageConfig("global", N_LABELS + 2, width=2, n_blocks=0))
    with pytest.raises(UserError, match="expects 7 condition channels, this run has 5"):
        make_provider(tmp_path)([make_street_frame(1)])
    save_network(tmp_path, SingleImageConfig("global", N_LABELS + 1, width=2, n_blocks=0))
    with pytest.raises(UserError, match="--use_instance"):
        make_provider(tmp_path)([replace(make_street_frame(1), instance=None)])
