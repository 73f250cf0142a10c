"""Discriminators of images that stand beside a condition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import models.ops.dispatch
from models.networks.discriminators import DiscriminatorConfig, MultiScaleDiscriminator

CONFIG = DiscriminatorConfig(width=4, n_layers=2, n_scales=2)


def judged(
    network: MultiScaleDiscriminator, images: list[Tensor], condition: Tensor, once: bool
) -> list[Tensor]:
    """Every feature map of every image, then the gradients of all weights and images."""
    beside = network.precompute_condition(condition) if once else None
    maps = [
        x
        for image in images
        for scale in (network(image, beside) if once else network(torch.cat([condition, image], 1)))
        for x in scale
    ]
    total = torch.stack([x.sin().sum() for x in maps]).sum()
    return [*maps, *torch.autograd.grad(total, [*network.parameters(), *images])]


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, returns_features=False), replace(CONFIG, spectral_norm=True)],
    ids=["features", "scores", "spectral"],
)
@pytest.mark.parametrize("fast", [True, False])
def test_condition_response_is_shared_by_several_images(config, fast, monkeypatch) -> None:
    monkeypatch.setattr(models.ops.dispatch, "MIN_FEATURE_MAP_SIZE", 0 if fast else 2**40)
    torch.manual_seed(0)
    network = (
        MultiScaleDiscriminator(5 + 3, config).double().eval()
    )  # where spectral norms iterate no further
    condition = torch.randn(2, 5, 33, 40, dtype=torch.float64)
    images = [torch.randn(2, 3, 33, 40, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    torch.testing.assert_close(
        judged(network, images, condition, once=True),
        judged(network, images, condition, once=False),
        rtol=1e-9,
        atol=1e-11,
    )
    shared = fast and not config.spectral_norm
    assert isinstance(network.precompute_condition(condition), list) == shared
