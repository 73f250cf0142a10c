"""The perceptual loss, against the public release and float64; loading of VGG19's weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from models.losses.perceptual import PerceptualLoss, load_perceptual_loss
from models.ops.dispatch import reference_ops
from tests.parity_weights import make_random_weights
from util.errors import UserError

PARITY = Path(__file__).parents[2] / "parity"


@pytest.fixture(scope="module")
def features() -> dict[str, torch.Tensor]:
    """Random weights of VGG19's convolutions, as the parity case was made with."""
    shapes = json.loads((PARITY / "keys/vgg19_features.json").read_text())["features"]
    return make_random_weights(shapes, seed=9, gain=1.4)


@pytest.fixture(scope="module")
def vgg_files(
    features: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("vgg")
    full = {f"features.{key}": value for key, value in features.items()} | {
        "classifier.0.bias": torch.zeros(3)
    }
    torch.save(features, folder / "features.pth")
    torch.save(full, folder / "full.pth")
    yield {"features": folder / "features.pth", "full": folder / "full.pth"}
    for file in folder.iterdir():
        file.unlink()  # 80 MB each


def read_case() -> dict[str, torch.Tensor]:
    arrays = np.load(PARITY / "vgg/case.npz")
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


@pytest.mark.parametrize("form", ["full", "features"])
def test_loss_and_gradient_match_the_published_ones(form: str, vgg_files: dict[str, Path]) -> None:
    """The reference operations sum in the published order, so even L1's signs agree."""
    case = read_case()
    x = case["x"].requires_grad_()
    with reference_ops():
        loss = load_perceptual_loss(vgg_files[form])(x, case["y"])
        loss.backward()
    torch.testing.assert_close(loss.detach(), case["loss"].reshape(()), rtol=1e-4, atol=0)
    assert (x.grad - case["grad"]).norm() < 1e-3 * case["grad"].norm()


def test_optimized_loss_and_gradient_match_float64(vgg_files: dict[str, Path]) -> None:
    """L1's gradient flips its sign near 0 by rounding: the published one is 1.5e-3 from float64 too."""
    case = read_case()
    gradients = []
    for dtype in (torch.float32, torch.float64):
        x = case["x"].detach().to(dtype).requires_grad_()
        loss = load_perceptual_loss(vgg_files["features"]).to(dtype)(x, case["y"].to(dtype))
        loss.backward()
        gradients.append(x.grad.double())
        assert float(loss.detach()) == pytest.approx(float(case["loss"]), rel=1e-4)
    assert (gradients[0] - gradients[1]).norm() < 5e-3 * gradients[1].norm()


def test_wide_images_are_downsampled_first(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = []

    def activations(self: PerceptualLoss, x: torch.Tensor) -> list[torch.Tensor]:
        inputs.append(x)
        return [x] * 5

    monkeypatch.setattr(PerceptualLoss, "extract_activations", activations)
    with torch.device("meta"):
        network = PerceptualLoss()
    x, y = torch.rand(1, 3, 8, 2050), torch.rand(1, 3, 8, 2050)
    loss = network(x, y)
    assert [s.shape for s in inputs] == [(1, 3, 2, 512)] * 2
    quarter = [
        p.reshape(1, 3, 4, 2, 1025, 2)
        .mean((3, 5))[..., :1024]
        .reshape(1, 3, 2, 2, 512, 2)
        .mean((3, 5))
        for p in (x, y)
    ]
    torch.testing.assert_close(
        loss, (quarter[0] - quarter[1]).abs().mean() * (1 / 32 + 1 / 16 + 1 / 8 + 1 / 4 + 1)
    )


def test_vgg_weights_are_frozen() -> None:
    with torch.device("meta"):
        assert not any(p.requires_grad for p in PerceptualLoss().parameters())


@pytest.fixture()
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.mark.usefixtures("offline")
def test_unavailable_weights_error_is_one_line() -> None:
    with pytest.raises(
        UserError, match="VGG19.*no route to host.*--vgg_weights PATH.*--no_vgg"
    ) as error:
        load_perceptual_loss(None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"0.weight": torch.zeros(64, 3, 3, 3)}, "missing"),
        ({"weights": torch.zeros(1)}, "missing"),
        ([1, 2], "holds a list"),
    ],
)
def test_other_files_are_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "vgg.pth")
    with pytest.raises(UserError, match=rf"vgg\.pth.*{message}"):
        load_perceptual_loss(tmp_path / "vgg.pth")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vgg\.pth is not there.*--vgg_weights"):
        load_perceptual_loss(tmp_path / "vgg.pth")


def test_unused_tensors_of_a_full_vgg_file_are_ignored(
    vgg_files: dict[str, Path], features: dict[str, torch.Tensor]
) -> None:
    loaded = load_perceptual_loss(vgg_files["full"]).features.state_dict()
    assert (
        all(torch.equal(value, features[key]) for key, value in loaded.items())
        and len(loaded) == 26
    )


def test_several_images_share_one_pass(vgg_files: dict[str, Path]) -> None:
    network = load_perceptual_loss(vgg_files["full"])
    rng = torch.Generator().manual_seed(0)
    real, first, second = (torch.rand(2, 3, 32, 32, generator=rng) * 2 - 1 for _ in range(3))
    separate = torch.stack([network(fake, real) for fake in (first, second)])
    torch.testing.assert_close(network(torch.cat([first, second]), real), separate.mean())
