"""LPIPS through its package, with drawn weights for the AlexNet that is not at hand."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from models.evaluation import lpips as ours
from models.evaluation.video_metrics import array_to_tensor
from util.runtime.torchvision_compat import import_torchvision

pytestmark = pytest.mark.skipif(find_spec("lpips") is None, reason="lpips is not installed")
CPU = torch.device("cpu")
SHIFT, SCALE = (
    torch.tensor([-0.030, -0.088, -0.188]),
    torch.tensor([0.458, 0.448, 0.450]),
)  # of Zhang's scaling layer
REAL = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Found in a cache that holds an AlexNet of drawn convolutions; its classifier, which LPIPS has no use for, is one
    number."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert ours.load_lpips_metric(CPU)[1].startswith("left out: torchvision's AlexNet is not at")
    torch.manual_seed(0)
    weights = import_torchvision().models.alexnet().state_dict()
    small = {
        key: value if "features" in key else torch.zeros(()).expand(value.shape)
        for key, value in weights.items()
    }
    (tmp_path / "checkpoints").mkdir()
    torch.save(small, tmp_path / "checkpoints" / ours.ALEXNET_WEIGHTS_FILE)
    found, why = ours.load_lpips_metric(CPU)
    assert str(tmp_path) in why
    return found


def by_hand(network, real, fake):
    """Formula 1 of the paper: unit-length features, weighted squared differences, means over places, summed."""
    maps = [
        network.net((image - SHIFT[:, None, None]) / SCALE[:, None, None]) for image in (real, fake)
    ]
    total = 0.0
    for one, other, weights in zip(*maps, network.lins, strict=True):
        units = [part / part.square().sum(1, keepdim=True).sqrt() for part in (one, other)]
        total += ((units[0] - units[1]).square() * weights.model[-1].weight).sum(1).mean()
    return float(total)


def test_matches_the_formula_of_the_paper_on_images_in_pm1(measure):
    fake = np.clip(REAL + np.random.default_rng(1).normal(0, 30, REAL.shape), 0, 255).astype(
        np.uint8
    )
    with torch.no_grad():
        expected = by_hand(measure.network, array_to_tensor(REAL, CPU), array_to_tensor(fake, CPU))
    assert measure([(REAL, fake)])["lpips"] == pytest.approx(expected, rel=1e-4) and expected > 0


def test_equal_images_have_zero_distance_and_noise_increases_it(measure):
    noise = np.random.default_rng(2).normal(0, 1, REAL.shape)
    fakes = [np.clip(REAL + amount * noise, 0, 255).astype(np.uint8) for amount in (0, 5, 50)]
    found = [measure([(REAL, fake)])["lpips"] for fake in fakes]
    assert found[0] == 0 < found[1] < found[2]
