"""The first images: who paints them, from what, and that the painter leaves."""

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

LABELS = 5


def street_frame(seed, size=(16, 24)):
    chance = torch.Generator().manual_seed(seed)
    return Clip(
        condition=torch.randint(0, LABELS, (1, 1, 1, *size), generator=chance, dtype=torch.uint8),
        image=torch.rand(1, 1, 3, *size, generator=chance) * 2 - 1,
        instance=torch.randint(0, 3, (1, 1, 1, *size), generator=chance, dtype=torch.int32),
        names=((f"street/{seed}",),),
    )


def face_frame(seed):
    frame = street_frame(seed)
    return replace(
        frame, condition=torch.rand(1, 1, 15, 16, 24, generator=torch.Generator().manual_seed(seed))
    )


def saved(folder, config, encoder=None, table=None):
    network = build_single_image_generator(config)
    torch.save(network.state_dict(), folder / "latest_net_G.pth")
    if encoder:
        torch.save(encoder.state_dict(), folder / "latest_net_E.pth")
        write_feature_table(folder / "features.npy", table)
    return network


@torch.no_grad()
@pytest.mark.parametrize("edges", [False, True])
def test_every_first_frame_is_generated_from_its_own_condition_alone(tmp_path, edges):
    network = saved(
        tmp_path, SingleImageConfig("global", LABELS + edges, width=2, n_downsample=2, n_blocks=1)
    )
    frames = [street_frame(1), street_frame(2)]
    painted = SingleImageProvider(find_single_image_files(tmp_path), LABELS, is_face=False)(frames)
    assert painted.shape == (1, 2, 3, 16, 24)
    for t, frame in enumerate(frames):
        condition = one_hot(frame.condition[:, 0], LABELS)
        if edges:
            condition = torch.cat([condition, get_edges(frame.instance[:, 0])], dim=1)
        assert torch.allclose(painted[:, t], network(condition), atol=1e-6)


@torch.no_grad()
def test_a_face_takes_the_features_of_the_nearest_training_face(tmp_path):
    encoder = Encoder(EncoderConfig(4, 2, 1))
    rng = np.random.default_rng(0)
    table = {
        part: rng.normal(size=(rows, 5)) / 4 for part, rows in ((0, 6), (1, 3), (2, 6), (6, 5))
    }
    network = saved(
        tmp_path,
        SingleImageConfig("global_with_features", 15, 4, width=2, n_downsample=1, n_blocks=1),
        encoder,
        table,
    )
    frames = [face_frame(1), face_frame(2)]
    painted = SingleImageProvider(find_single_image_files(tmp_path), 0, is_face=True)(frames)
    for t, frame in enumerate(frames):
        parts = frame.instance[:, 0]
        encoded = encoder(frame.image[:, 0], parts)[0]
        distance = torch.zeros(5)
        for part in (0, 1, 2):
            own = encoded[:, parts[0, 0] == part][:, 0]
            rows = torch.tensor(table[part][:, :4]).float()[
                torch.arange(5).clamp(max=len(table[part]) - 1)
            ]
            distance += (rows - own).square().sum(dim=1)
        features = torch.zeros(1, 4, 16, 24)
        for part in (0, 1, 2):
            row = table[part][min(int(distance.argmin()), len(table[part]) - 1), :4]
            features[0, :, parts[0, 0] == part] = torch.tensor(row).float()[:, None]
        assert torch.allclose(painted[:, t], network(frame.condition[:, 0], features), atol=1e-5)


def test_region_features_are_constant_over_frames(tmp_path):
    rng = np.random.default_rng(0)
    saved(
        tmp_path,
        SingleImageConfig("global_with_features", LABELS, 4, width=2, n_downsample=1, n_blocks=1),
        Encoder(EncoderConfig(4, 2, 1)),
        {label: rng.normal(size=(50, 5)) for label in range(LABELS - 1)},
    )
    same = street_frame(1)
    painter = SingleImageProvider(find_single_image_files(tmp_path), LABELS, is_face=False, seed=3)
    first, again = painter([same, same])[0]
    assert torch.equal(first, again)
    other = SingleImageProvider(painter.files, LABELS, is_face=False, seed=4)([same])[0, 0]
    assert not torch.allclose(first, other, atol=1e-3)


def test_sizes_not_divisible_by_the_downsampling_are_padded(tmp_path):
    saved(
        tmp_path,
        SingleImageConfig("local", LABELS, width=2, n_downsample=2, n_blocks=0, n_enhancers=2),
    )
    painted = SingleImageProvider(find_single_image_files(tmp_path), LABELS, is_face=False)(
        [street_frame(1, (17, 30))]
    )
    assert painted.shape == (1, 1, 3, 17, 30)


@pytest.mark.parametrize("kind", ["global", "global_with_features"])
def test_network_is_freed_after_the_first_frames(tmp_path, monkeypatch, kind):
    features = 4 if kind == "global_with_features" else 0
    saved(
        tmp_path,
        SingleImageConfig(kind, LABELS, features, width=2, n_downsample=1, n_blocks=1),
        Encoder(EncoderConfig(4, 2, 1)),
        {0: np.zeros((1, 5))},
    )
    loaded = []

    def watched(*arguments):
        single = single_image.load_single_image_model(*arguments)
        loaded.extend(
            weakref.ref(part) for part in (single, single.netG, *single.netG.parameters())
        )
        return single

    monkeypatch.setattr(first_frame, "load_single_image_model", watched)
    gc.disable()  # released by itself, not by a collection that may come late
    try:
        painted = SingleImageProvider(find_single_image_files(tmp_path), LABELS, is_face=False)(
            [street_frame(1)]
        )
        assert len(loaded) > 3
        assert [part for part in loaded if part() is not None] == []
    finally:
        gc.enable()
    assert painted.isfinite().all()


def test_source_precedence_and_need_for_real_images(tmp_path):
    assert build_first_image_provider(FirstFrameConfig("zeros", tmp_path)) == (
        make_zero_images,
        False,
    )
    assert build_first_image_provider(FirstFrameConfig("real", tmp_path)) == (get_real_images, True)
    with pytest.raises(UserError, match="latest_net_G.pth is not there"):
        build_first_image_provider(FirstFrameConfig("single", tmp_path))
    saved(tmp_path, SingleImageConfig("global", LABELS, width=2))
    for faces in (False, True):
        assert (
            build_first_image_provider(FirstFrameConfig("single", tmp_path, is_face=faces))[1]
            is False
        )
    saved(
        tmp_path,
        SingleImageConfig("global", LABELS, width=2),
        Encoder(EncoderConfig(4, 2, 1)),
        {0: np.zeros((1, 5))},
    )
    for faces in (False, True):
        assert (
            build_first_image_provider(FirstFrameConfig("single", tmp_path, is_face=faces))[1]
            is faces
        )


def test_a_network_of_other_data_is_refused(tmp_path):
    saved(tmp_path, SingleImageConfig("global", LABELS + 2, width=2, n_blocks=0))
    with pytest.raises(UserError, match="sees 7 condition channels, this run has 5"):
        SingleImageProvider(find_single_image_files(tmp_path), LABELS, is_face=False)(
            [street_frame(1)]
        )
    saved(tmp_path, SingleImageConfig("global", LABELS + 1, width=2, n_blocks=0))
    with pytest.raises(UserError, match="--use_instance"):
        SingleImageProvider(find_single_image_files(tmp_path), LABELS, is_face=False)(
            [replace(street_frame(1), instance=None)]
        )
