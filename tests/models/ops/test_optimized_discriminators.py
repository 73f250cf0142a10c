"""Discriminators as wide as real runs have them take fast ways on a CPU: held to the plain way's."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.discriminators import DiscriminatorConfig, MultiScaleDiscriminator, PatchConv2d
from models.ops.dispatch import reference_ops
from models.ops.winograd import winograd_conv2d
from scripts.benchmarks.reference_implementation import (
    ReferenceDiscriminator,
    get_contiguous_state_dict,
)

CONFIG = DiscriminatorConfig(width=64, n_layers=2, n_scales=2)


def wide() -> MultiScaleDiscriminator:
    torch.manual_seed(0)
    return MultiScaleDiscriminator(6, CONFIG).double()


def summed(scores: list[list[Tensor]]) -> Tensor:
    return torch.stack([features.square().mean() for scale in scores for features in scale]).sum()


def test_scores_and_gradients_match_the_reference_implementation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, x = wide(), torch.randn(2, 6, 96, 128, dtype=torch.float64, requires_grad=True)
    sides = []

    def counted(*arguments: Tensor, padding: int) -> Tensor:
        sides.append(arguments[1].shape[-1])
        return winograd_conv2d(*arguments, padding=padding)

    monkeypatch.setattr("models.networks.discriminators.winograd_conv2d", counted)
    ours, plain = network(x), ReferenceDiscriminator(get_contiguous_state_dict(network), CONFIG)(x)
    assert sides == [4] * 2  # one layer of each scale
    wanted = [x, *network.parameters()]
    for a, b in zip(sum(ours, []), sum(plain, []), strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(
        torch.autograd.grad(summed(ours), wanted),
        torch.autograd.grad(summed(plain), wanted),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_second_order_gradients_are_available_on_request() -> None:
    network, x = wide(), torch.randn(1, 6, 64, 64, dtype=torch.float64, requires_grad=True)
    with reference_ops():
        scores = network(x)
    (slope,) = torch.autograd.grad(summed(scores), x, create_graph=True)
    slope.square().sum().backward()
    assert all(
        weight.grad is not None
        for name, weight in network.named_parameters()
        if name.endswith("0.weight")
    )


def test_forward_pass_runs_one_power_iteration() -> None:
    """Reading a weight that is bounded by its spectral norm is an iteration, whichever way then takes it."""
    network = MultiScaleDiscriminator(6, replace(CONFIG, n_scales=1, spectral_norm=True))
    layers = [part for part in network.modules() if isinstance(part, PatchConv2d)]
    vectors = [part.parametrizations.weight[0]._u for part in layers]
    before = [vector.clone() for vector in vectors]
    expected = [
        F.normalize(
            part.parametrizations.weight.original.flatten(1)
            @ F.normalize(part.parametrizations.weight.original.flatten(1).T @ u, dim=0, eps=1e-12),
            dim=0,
            eps=1e-12,
        )
        for part, u in zip(layers, before, strict=True)
    ]
    network(torch.randn(1, 6, 96, 128))
    assert layers and not any(
        torch.equal(old, new) for old, new in zip(before, vectors, strict=True) if len(old) > 1
    )
    assert all(
        torch.allclose(new, once, atol=1e-5) for new, once in zip(vectors, expected, strict=True)
    )
