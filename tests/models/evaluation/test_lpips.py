"""LPIPS through its package, with random weights instead of the published AlexNet's."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from models.evaluation.lpips import ALEXNET_WEIGHTS_FILE, load_lpips_metric
from models.evaluation.video_metrics import array_to_tensor
from util.runtime.torchvision_compat import import_torchvision

pytestmark = pytest.mark.skipif(find_spec("lpips") is None, reason="lpips is not installed")
CPU = torch.device("cpu")
# Input normalization of the lpips package
SHIFT = torch.tensor([-0.030, -0.088, -0.188])
SCALE = torch.tensor([0.458, 0.448, 0.450])
REAL = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


@pytest.fixture
def metric(tmp_path, monkeypatch):
    """Load the metric with random AlexNet convolutions; the classifier is constant to save space."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert load_lpips_metric(CPU)[1].startswith("skipped: no torchvision AlexNet at")
    torch.manual_seed(0)
    weights = import_torchvision().models.alexnet().state_dict()
    compact = {
        key: value if "features" in key else torch.zeros(()).expand(value.shape)
        for key, value in weights.items()
    }
    (tmp_path / "checkpoints").mkdir()
    torch.save(compact, tmp_path / "checkpoints" / ALEXNET_WEIGHTS_FILE)
    metric, summary = load_lpips_metric(CPU)
    assert str(tmp_path) in summary
    return metric


def compute_by_formula(network, real, fake):
    """Evaluate equation 1 of the paper: weighted squared differences of unit-length features."""
    maps = [
        network.net((image - SHIFT[:, None, None]) / SCALE[:, None, None]) for image in (real, fake)
    ]
    total = 0.0
    for real_map, fake_map, weights in zip(*maps, network.lins, strict=True):
        real_unit, fake_unit = (
            x / x.square().sum(1, keepdim=True).sqrt() for x in (real_map, fake_map)
        )
        total += ((real_unit - fake_unit).square() * weights.model[-1].weight).sum(1).mean()
    return float(total)


def test_matches_the_formula_of_the_paper_on_images_in_pm1(metric):
    noise = np.random.default_rng(1).normal(0, 30, REAL.shape)
    fake = np.clip(REAL + noise, 0, 255).astype(np.uint8)
    tensors = array_to_tensor(REAL, CPU), array_to_tensor(fake, CPU)
    with torch.no_grad():
        expected = compute_by_formula(metric.network, *tensors)
    assert metric([(REAL, fake)])["lpips"] == pytest.approx(expected, rel=1e-4) and expected > 0


def test_equal_images_have_zero_distance_and_noise_increases_it(metric):
    noise = np.random.default_rng(2).normal(0, 1, REAL.shape)
    fakes = [np.clip(REAL + amount * noise, 0, 255).astype(np.uint8) for amount in (0, 5, 50)]
    distances = [metric([(REAL, fake)])["lpips"] for fake in fakes]
    assert distances[0] == 0 < distances[1] < distances[2]
