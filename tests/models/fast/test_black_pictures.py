"""Before a video begins there are black pictures: their maps are constant, and norms of those are rounding errors,
which further norms blow up until they are seen. They must be those of the public release."""

from __future__ import annotations

import torch

from models.blocks import init_weights
from models.fast.choice import plainly
from models.generators import GeneratorConfig, build_generator


def test_what_follows_black_pictures_is_painted_as_by_plain_operations() -> None:
    torch.manual_seed(0)
    network = build_generator(GeneratorConfig(condition_channels=2, width=32, n_downsample=2, n_blocks=2))[0]
    init_weights(network)
    condition, black = torch.randn(1, 3, 2, 64, 128), torch.zeros(1, 2, 3, 64, 128)
    with torch.no_grad():
        fast, _ = network(condition, black, True)
        fast_all, _ = network(condition, black, False)
        with plainly():
            plain, _ = network(condition, black, True)
    assert (fast.raw - plain.raw).abs().max() < 1e-5
    assert (fast_all.raw - plain.raw).abs().max() > 1e-3  # the errors that would have been
