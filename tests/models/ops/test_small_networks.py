"""Small networks of small images gain little by fast ways, and compute as the public release does to the bit."""

from __future__ import annotations

import torch

from models.networks.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.networks.generators import GeneratorConfig, build_generator
from models.networks.sparse_labels import SparseOneHot
from models.ops.dispatch import MIN_FEATURE_MAP_SIZE, reference_ops


def test_small_generators_match_reference_ops() -> None:
    torch.manual_seed(0)
    width = MIN_FEATURE_MAP_SIZE // (2 * 32 * 64)
    config = GeneratorConfig(
        condition_channels=5, width=width, n_downsample=1, n_blocks=2, foreground=(2,)
    )
    network, previous = build_generator(config)[0], torch.randn(1, 2, 3, 32, 64)
    ids = SparseOneHot(torch.randint(5, (1, 3, 1, 32, 64)).byte(), 5)
    ours, _ = network(ids, previous, False)
    with reference_ops():
        plain, _ = network(ids.to_dense(), previous, False)
    assert torch.equal(ours.image, plain.image)


def test_small_discriminators_match_reference_ops() -> None:
    torch.manual_seed(0)
    network = MultiScaleDiscriminator(
        6, DiscriminatorConfig(width=MIN_FEATURE_MAP_SIZE // (2 * 64 * 128))
    )
    x = torch.randn(1, 6, 64, 128)
    ours = network(x)
    with reference_ops():
        plain = network(x)
    assert all(
        torch.equal(a, b)
        for one, other in zip(ours, plain, strict=True)
        for a, b in zip(one, other, strict=True)
    )
