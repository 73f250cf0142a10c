"""Before a video begins there are black images: their maps are constant, and norms of those are rounding errors,
which further norms blow up until they are seen. They must be those of the public release."""

from __future__ import annotations

import torch

from models.networks.blocks import init_weights
from models.networks.generators import GeneratorConfig, build_generator
from models.ops.dispatch import reference_ops


def test_frames_after_black_images_match_reference_ops() -> None:
    torch.manual_seed(0)
    network = build_generator(
        GeneratorConfig(condition_channels=2, width=32, n_downsample=2, n_blocks=2)
    )[0]
    init_weights(network)
    condition, black = torch.randn(1, 3, 2, 64, 128), torch.zeros(1, 2, 3, 64, 128)
    with torch.no_grad():
        fast, _ = network(condition, black, True)
        fast_all, _ = network(condition, black, False)
        with reference_ops():
            plain, _ = network(condition, black, True)
    assert (fast.raw_image - plain.raw_image).abs().max() < 1e-5
    assert (
        fast_all.raw_image - plain.raw_image
    ).abs().max() > 1e-3  # the errors that would have been
