"""Discriminators of images whose condition is given once for several images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import models.ops.dispatch
from models.networks.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.ops.install import install_optimized_ops

CONFIG = DiscriminatorConfig(width=4, n_layers=2, n_scales=2)


def compute_features_and_gradients(
    network: MultiScaleDiscriminator, images: list[Tensor], condition: Tensor, precomputes: bool
) -> list[Tensor]:
    """Return every feature map of every image, then the gradients of all weights and images."""
    features = []
    shared = network.precompute_condition(condition) if precomputes else None
    for image in images:
        x = image if precomputes else torch.cat([condition, image], 1)
        outputs = network(x, shared)
        features += sum(outputs, [])
    total = torch.stack([x.sin().sum() for x in features]).sum()
    return [*features, *torch.autograd.grad(total, [*network.parameters(), *images])]


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, returns_features=False), replace(CONFIG, spectral_norm=True)],
    ids=["features", "scores", "spectral"],
)
@pytest.mark.parametrize("is_optimized", [True, False])
def test_condition_response_is_shared_by_several_images(config, is_optimized, monkeypatch) -> None:
    monkeypatch.setattr(models.ops.dispatch, "MIN_FEATURE_MAP_SIZE", 0 if is_optimized else 2**40)
    torch.manual_seed(0)
    # in eval mode, in which spectral normalization iterates no further
    network = install_optimized_ops(MultiScaleDiscriminator(5 + 3, config)).double().eval()
    condition = torch.randn(2, 5, 33, 40, dtype=torch.float64)
    images = [torch.randn(2, 3, 33, 40, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    torch.testing.assert_close(
        compute_features_and_gradients(network, images, condition, precomputes=True),
        compute_features_and_gradients(network, images, condition, precomputes=False),
        rtol=1e-9,
        atol=1e-11,
    )
    is_shared = is_optimized and not config.spectral_norm
    assert isinstance(network.precompute_condition(condition), list) == is_shared
