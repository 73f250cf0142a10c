"""The arithmetic of docs/scaling.md, against counts by hand and the edges of the formulas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from options.train import parse_train
from scripts.cluster.scaling_model import (
    LINKS,
    Work,
    chain_speedup,
    count_work,
    counted,
    efficiency,
    exchange,
    report,
    saturated,
)

WORK = Work(weights=10**9, generator=30.0, discriminators=10.0, back=60.0)
PAGE = Path(__file__).parents[2] / "docs/scaling.md"


def test_work_grows_with_the_pictures_and_the_networks_are_counted_whole() -> None:
    flags = "--label_nc 5 --ngf 8 --ndf 8 --n_downsample_G 2 --n_blocks 2 --no_vgg --n_scales_temporal 1"
    small, large = (count_work(parse_train(flags.split()), 32 * k, 64 * k) for k in (1, 2))
    assert small.weights == large.weights
    assert large.generator == pytest.approx(4 * small.generator)  # every convolution is of one stride's size
    wider = count_work(parse_train([*flags.split(), "--ngf", "16"]), 32, 64)
    assert 2 < wider.generator / small.generator < 4  # squares of the width, but for what comes in and goes out
    assert wider.discriminators == small.discriminators
    assert small.back == 2 * (small.generator + small.discriminators)


def test_a_convolution_is_counted_as_by_hand() -> None:
    """2 operations for each of 3x3 weights between 5 and 7 channels at 8x10 places."""
    layer, seen = torch.nn.Conv2d(5, 7, 3, padding=1), torch.zeros(1, 5, 8, 10)
    assert counted(lambda: layer(seen)) == 2 * 9 * 5 * 7 * 80


def test_a_ring_sends_all_but_its_own_part_twice() -> None:
    assert exchange(10**9, 1, 1e9) == 0 and efficiency(0.5, 10**9, 1, 1e9) == 1
    assert exchange(10**9, 2, 1e9) == 4 and exchange(10**9, 10**6, 1e9) == pytest.approx(8, rel=1e-5)


def test_more_processes_never_gain_efficiency_and_half_is_lost_where_it_says() -> None:
    kept = [efficiency(0.5, 10**9, n, 100e9) for n in (1, 2, 8, 64, 512)]
    assert kept == sorted(kept, reverse=True)
    assert efficiency(saturated(10**9, 100e9), 10**9, 10**9, 100e9) == pytest.approx(0.5)


def test_a_chain_ends_at_its_forward_pass() -> None:
    assert chain_speedup(WORK, 1, 1) == 1 and chain_speedup(WORK, 10**9, 10**9) == pytest.approx(100 / 30)
    assert chain_speedup(WORK, 2, 1) == pytest.approx(100 / (30 + 30 + 10))


def test_the_page_says_what_the_script_says() -> None:
    flags = "--label_nc 35 --use_instance --fg --loadSize 512"
    options = parse_train(flags.split())
    assert report(count_work(options, 256, 512)) in PAGE.read_text(encoding="utf-8")
    assert f"scaling_model {flags}" in PAGE.read_text(encoding="utf-8") and set(LINKS) == {8, 64, 512}
