"""Frames after black images, whose feature maps are constant.

Norms of constant maps are rounding errors, which further norms amplify to visible size. They must be those of the
public release, whose operations are the reference ops.
"""

from __future__ import annotations

from copy import deepcopy

import torch

from models.networks.generators import GeneratorConfig, build_generator
from models.ops.install import install_optimized_ops


@torch.no_grad()
def test_frames_after_black_images_match_reference_ops() -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(condition_channels=2, width=32, n_downsample=2, n_blocks=2)
    network = build_generator(config)[0]
    optimized = install_optimized_ops(deepcopy(network))
    condition, black = torch.randn(1, 3, 2, 64, 128), torch.zeros(1, 2, 3, 64, 128)
    expected = network(condition, black, True)[0].raw_image
    first_frame = optimized(condition, black, True)[0].raw_image
    assert (first_frame - expected).abs().max() < 1e-5
    later_frame = optimized(condition, black, False)[
        0
    ].raw_image  # encodes black images by optimized ops
    assert (later_frame - expected).abs().max() > 1e-3
