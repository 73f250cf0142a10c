"""The model of docs/multi-gpu.md, against counts by hand and limits of its formulas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from options.train import parse_train
from scripts.benchmarks.cluster_model import (
    ASSUMED_LINK_BANDWIDTHS,
    FrameFlops,
    all_reduce_seconds,
    chain_speedup,
    count_flops,
    count_frame_flops,
    format_cluster_report,
    min_step_seconds,
    scaling_efficiency,
)

FLOPS = FrameFlops(n_weights=10**9, generator=30.0, discriminators=10.0, backward=60.0)
PAGE = Path(__file__).parents[3] / "docs/multi-gpu.md"


def test_flops_grow_with_image_size_and_weights_do_not() -> None:
    flags = "--label_nc 5 --ngf 8 --ndf 8 --n_downsample_G 2 --n_blocks 2 --no_vgg --n_scales_temporal 1"
    options = parse_train(flags.split())
    small, large = count_frame_flops(options, 32, 64), count_frame_flops(options, 64, 128)
    assert small.n_weights == large.n_weights
    assert large.generator == pytest.approx(4 * small.generator)  # 4 times the pixels
    wider = count_frame_flops(parse_train([*flags.split(), "--ngf", "16"]), 32, 64)
    # 4 times between inner layers, twice in the first and last ones
    assert 2 < wider.generator / small.generator < 4
    assert wider.discriminators == small.discriminators
    assert small.backward == 2 * (small.generator + small.discriminators)


def test_convolution_flops_match_hand_computed_value() -> None:
    """2 operations for each of 3x3 weights between 5 and 7 channels at 8x10 pixels."""
    layer = torch.nn.Conv2d(5, 7, 3, padding=1)
    x = torch.zeros(1, 5, 8, 10)
    assert count_flops(lambda: layer(x)) == 2 * 9 * 5 * 7 * 80


def test_ring_all_reduce_sends_nearly_twice_the_gradients() -> None:
    assert all_reduce_seconds(10**9, 1, 1e9) == 0
    assert scaling_efficiency(0.5, 10**9, 1, 1e9) == 1
    assert all_reduce_seconds(10**9, 2, 1e9) == 4
    assert all_reduce_seconds(10**9, 10**6, 1e9) == pytest.approx(8, rel=1e-5)


def test_efficiency_falls_with_world_size_to_half_at_min_step_seconds() -> None:
    efficiencies = [scaling_efficiency(0.5, 10**9, n, 100e9) for n in (1, 2, 8, 64, 512)]
    assert efficiencies == sorted(efficiencies, reverse=True)
    step = min_step_seconds(10**9, 100e9)
    assert scaling_efficiency(step, 10**9, 10**9, 100e9) == pytest.approx(0.5)


def test_chain_speedup_is_bounded_by_the_forward_pass() -> None:
    assert chain_speedup(FLOPS, 1, 1) == 1
    assert chain_speedup(FLOPS, 10**9, 10**9) == pytest.approx(100 / 30)
    assert chain_speedup(FLOPS, 2, 1) == pytest.approx(100 / (30 + 30 + 10))


def test_scaling_page_is_up_to_date() -> None:
    flags = "--label_nc 35 --use_instance --fg --loadSize 512"
    options = parse_train(flags.split())
    page = PAGE.read_text(encoding="utf-8")
    assert format_cluster_report(count_frame_flops(options, 256, 512)) in page
    assert f"cluster_model {flags}" in page
    assert set(ASSUMED_LINK_BANDWIDTHS) == {8, 64, 512}
