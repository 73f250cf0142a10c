"""Discriminators as wide as real runs have them take fast ways on a CPU: held to the plain way's."""

import pytest
import torch
from torch import Tensor

from models.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.fast.choice import plainly
from models.fast.winograd import winograd
from scripts.plain_way import PlainDiscriminator, weights_of

CONFIG = DiscriminatorConfig(width=64, n_layers=2, n_scales=2)


def wide() -> MultiScaleDiscriminator:
    torch.manual_seed(0)
    return MultiScaleDiscriminator(6, CONFIG).double()


def summed(scores: list[list[Tensor]]) -> Tensor:
    return torch.stack([features.square().mean() for scale in scores for features in scale]).sum()


def test_scores_and_gradients_are_the_plain_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = wide(), torch.randn(2, 6, 96, 128, dtype=torch.float64, requires_grad=True)
    sides = []

    def counted(*arguments: Tensor, padding: int) -> Tensor:
        sides.append(arguments[1].shape[-1])
        return winograd(*arguments, padding=padding)

    monkeypatch.setattr("models.discriminators.winograd", counted)
    ours, plain = network(x), PlainDiscriminator(weights_of(network), CONFIG)(x)
    assert sides == [4] * 2  # one layer of each scale
    wanted = [x, *network.parameters()]
    for a, b in zip(sum(ours, []), sum(plain, []), strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(torch.autograd.grad(summed(ours), wanted), torch.autograd.grad(summed(plain), wanted), strict=True):
        torch.testing.assert_close(a, b)


def test_slopes_of_slopes_are_there_where_they_are_asked_for() -> None:
    network, x = wide(), torch.randn(1, 6, 64, 64, dtype=torch.float64, requires_grad=True)
    with plainly():
        scores = network(x)
    slope, = torch.autograd.grad(summed(scores), x, create_graph=True)
    slope.square().sum().backward()
    assert all(weight.grad is not None for name, weight in network.named_parameters() if name.endswith("0.weight"))
