"""Small networks of small images gain little by optimized ops: they are bit for bit those of the public release."""

from __future__ import annotations

from copy import deepcopy

import torch

from models.networks.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.networks.generators import GeneratorConfig, build_generator
from models.networks.labels import SparseOneHot
from models.ops.dispatch import MIN_FEATURE_MAP_SIZE
from models.ops.install import install_optimized_ops


def test_small_generators_match_plain_ones() -> None:
    torch.manual_seed(0)
    width = MIN_FEATURE_MAP_SIZE // (2 * 32 * 64)
    config = GeneratorConfig(
        condition_channels=5, width=width, n_downsample=1, n_blocks=2, foreground=(2,)
    )
    network, previous = build_generator(config)[0], torch.randn(1, 2, 3, 32, 64)
    condition = SparseOneHot(torch.randint(5, (1, 3, 1, 32, 64)).byte(), 5)
    optimized = install_optimized_ops(deepcopy(network))
    expected, _ = network(condition.to_dense(), previous, False)
    output, _ = optimized(condition, previous, False)
    assert torch.equal(output.image, expected.image)


def test_small_discriminators_match_plain_ones() -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(width=MIN_FEATURE_MAP_SIZE // (2 * 64 * 128))
    network = MultiScaleDiscriminator(6, config)
    optimized = install_optimized_ops(deepcopy(network))
    x = torch.randn(1, 6, 64, 128)
    outputs, expected = sum(optimized(x), []), sum(network(x), [])
    assert len(outputs) == len(expected)
    assert all(map(torch.equal, outputs, expected))
