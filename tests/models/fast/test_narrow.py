"""Narrow networks gain nothing by fast ways, and compute as the public release does, to the last bit."""

from __future__ import annotations

import torch

from models.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.fast.choice import LEAST_WIDTH, plainly
from models.generators import GeneratorConfig, build_generator
from models.labels import LabelMaps


def test_narrow_generators_are_the_plain_ones() -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(condition_channels=5, width=LEAST_WIDTH // 2, n_downsample=2, n_blocks=2, foreground=(2,))
    network, previous = build_generator(config)[0], torch.randn(1, 2, 3, 32, 64)
    ids = LabelMaps(torch.randint(5, (1, 3, 1, 32, 64)).byte(), 5)
    ours, _ = network(ids, previous, False)
    with plainly():
        plain, _ = network(ids.dense(), previous, False)
    assert torch.equal(ours.picture, plain.picture)


def test_narrow_discriminators_are_the_plain_ones() -> None:
    torch.manual_seed(0)
    network = MultiScaleDiscriminator(6, DiscriminatorConfig(width=LEAST_WIDTH // 2))
    x = torch.randn(1, 6, 64, 128)
    ours = network(x)
    with plainly():
        plain = network(x)
    assert all(torch.equal(a, b) for one, other in zip(ours, plain, strict=True)
               for a, b in zip(one, other, strict=True))
