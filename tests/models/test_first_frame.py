"""The first pictures: who paints them, from what, and that the painter leaves."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from models import first_frame, single_files
from models.conditions import instance_edges, one_hot
from models.first_frame import FirstFrameConfig, SinglePainter, choose_first_pictures, real_pictures, zeros
from models.single import Encoder, EncoderConfig, SingleConfig, build_single
from models.single_files import find_single
from util.clip import Clip
from util.errors import UserError
from util.feature_table import write_feature_table

LABELS = 5


def street_frame(seed, size=(16, 24)):
    chance = torch.Generator().manual_seed(seed)
    return Clip(condition=torch.randint(0, LABELS, (1, 1, 1, *size), generator=chance, dtype=torch.uint8),
                picture=torch.rand(1, 1, 3, *size, generator=chance) * 2 - 1,
                instance=torch.randint(0, 3, (1, 1, 1, *size), generator=chance, dtype=torch.int32),
                names=((f"street/{seed}",),))


def face_frame(seed):
    frame = street_frame(seed)
    return replace(frame, condition=torch.rand(1, 1, 15, 16, 24, generator=torch.Generator().manual_seed(seed)))


def saved(folder, config, encoder=None, table=None):
    network = build_single(config)
    torch.save(network.state_dict(), folder / "latest_net_G.pth")
    if encoder:
        torch.save(encoder.state_dict(), folder / "latest_net_E.pth")
        write_feature_table(folder / "features.npy", table)
    return network


@torch.no_grad()
@pytest.mark.parametrize("edges", [False, True])
def test_every_first_frame_is_painted_alone_from_its_own_condition(tmp_path, edges):
    network = saved(tmp_path, SingleConfig("global", LABELS + edges, width=2, n_downsample=2, n_blocks=1))
    frames = [street_frame(1), street_frame(2)]
    painted = SinglePainter(find_single(tmp_path), LABELS, faces=False)(frames)
    assert painted.shape == (1, 2, 3, 16, 24)
    for t, frame in enumerate(frames):
        condition = one_hot(frame.condition[:, 0], LABELS)
        if edges:
            condition = torch.cat([condition, instance_edges(frame.instance[:, 0])], dim=1)
        assert torch.allclose(painted[:, t], network(condition), atol=1e-6)


@torch.no_grad()
def test_a_face_takes_the_features_of_the_nearest_training_face(tmp_path):
    encoder = Encoder(EncoderConfig(4, 2, 1))
    rng = np.random.default_rng(0)
    table = {part: rng.normal(size=(rows, 5)) / 4 for part, rows in ((0, 6), (1, 3), (2, 6), (6, 5))}
    network = saved(tmp_path, SingleConfig("global_with_features", 15, 4, width=2, n_downsample=1, n_blocks=1), encoder,
                    table)
    frames = [face_frame(1), face_frame(2)]
    painted = SinglePainter(find_single(tmp_path), 0, faces=True)(frames)
    for t, frame in enumerate(frames):
        parts = frame.instance[:, 0]
        encoded = encoder(frame.picture[:, 0], parts)[0]
        distance = torch.zeros(5)
        for part in (0, 1, 2):
            own = encoded[:, parts[0, 0] == part][:, 0]
            rows = torch.tensor(table[part][:, :4]).float()[torch.arange(5).clamp(max=len(table[part]) - 1)]
            distance += (rows - own).square().sum(dim=1)
        features = torch.zeros(1, 4, 16, 24)
        for part in (0, 1, 2):
            row = table[part][min(int(distance.argmin()), len(table[part]) - 1), :4]
            features[0, :, parts[0, 0] == part] = torch.tensor(row).float()[:, None]
        assert torch.allclose(painted[:, t], network(frame.condition[:, 0], features), atol=1e-5)


def test_regions_of_label_maps_keep_their_looks_from_frame_to_frame(tmp_path):
    rng = np.random.default_rng(0)
    saved(tmp_path, SingleConfig("global_with_features", LABELS, 4, width=2, n_downsample=1, n_blocks=1),
          Encoder(EncoderConfig(4, 2, 1)), {label: rng.normal(size=(50, 5)) for label in range(LABELS - 1)})
    same = street_frame(1)
    painter = SinglePainter(find_single(tmp_path), LABELS, faces=False, seed=3)
    first, again = painter([same, same])[0]
    assert torch.equal(first, again)
    other = SinglePainter(painter.files, LABELS, faces=False, seed=4)([same])[0, 0]
    assert not torch.allclose(first, other, atol=1e-3)


def test_sizes_that_the_network_cannot_halve_are_padded(tmp_path):
    saved(tmp_path, SingleConfig("local", LABELS, width=2, n_downsample=2, n_blocks=0, n_enhancers=2))
    painted = SinglePainter(find_single(tmp_path), LABELS, faces=False)([street_frame(1, (17, 30))])
    assert painted.shape == (1, 1, 3, 17, 30)


@pytest.mark.parametrize("kind", ["global", "global_with_features"])
def test_the_network_is_gone_when_its_pictures_are_painted(tmp_path, monkeypatch, kind):
    features = 4 if kind == "global_with_features" else 0
    saved(tmp_path, SingleConfig(kind, LABELS, features, width=2, n_downsample=1, n_blocks=1),
          Encoder(EncoderConfig(4, 2, 1)), {0: np.zeros((1, 5))})
    loaded = []

    def watched(*arguments):
        single = single_files.load_single(*arguments)
        loaded.extend(weakref.ref(part) for part in (single, single.network, *single.network.parameters()))
        return single

    monkeypatch.setattr(first_frame, "load_single", watched)
    gc.disable()  # released by itself, not by a collection that may come late
    try:
        painted = SinglePainter(find_single(tmp_path), LABELS, faces=False)([street_frame(1)])
        assert len(loaded) > 3
        assert [part for part in loaded if part() is not None] == []
    finally:
        gc.enable()
    assert painted.isfinite().all()


def test_precedence_and_who_needs_real_pictures(tmp_path):
    assert choose_first_pictures(FirstFrameConfig("zeros", tmp_path)) == (zeros, False)
    assert choose_first_pictures(FirstFrameConfig("real", tmp_path)) == (real_pictures, True)
    with pytest.raises(UserError, match="latest_net_G.pth is not there"):
        choose_first_pictures(FirstFrameConfig("single", tmp_path))
    saved(tmp_path, SingleConfig("global", LABELS, width=2))
    for faces in (False, True):
        assert choose_first_pictures(FirstFrameConfig("single", tmp_path, faces=faces))[1] is False
    saved(tmp_path, SingleConfig("global", LABELS, width=2), Encoder(EncoderConfig(4, 2, 1)), {0: np.zeros((1, 5))})
    for faces in (False, True):
        assert choose_first_pictures(FirstFrameConfig("single", tmp_path, faces=faces))[1] is faces


def test_a_network_of_other_data_is_refused(tmp_path):
    saved(tmp_path, SingleConfig("global", LABELS + 2, width=2, n_blocks=0))
    with pytest.raises(UserError, match="sees 7 condition channels, this run has 5"):
        SinglePainter(find_single(tmp_path), LABELS, faces=False)([street_frame(1)])
    saved(tmp_path, SingleConfig("global", LABELS + 1, width=2, n_blocks=0))
    with pytest.raises(UserError, match="--use_instance"):
        SinglePainter(find_single(tmp_path), LABELS, faces=False)([replace(street_frame(1), instance=None)])
