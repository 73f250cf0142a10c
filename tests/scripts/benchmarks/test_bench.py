"""bench.py at toy size: it runs, its arithmetic is the published, and both ways make the same."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from PIL import Image

from models.networks.generators import GeneratorConfig
from scripts.benchmarks import bench
from scripts.benchmarks.frame_profile import FRAME_PARTS
from scripts.benchmarks.macs import count_frame_macs
from scripts.benchmarks.scaling import (
    ScalingPoint,
    fit_line,
    max_relative_residual,
    sum_fastest_rounds,
)
from scripts.benchmarks.timing import measure_peak_process_memory
from scripts.benchmarks.videos import MIN_VIDEO_FRAMES

PUBLISHED = GeneratorConfig(condition_channels=36, foreground=(26,))


@pytest.mark.parametrize(
    ("config", "size", "gmacs"),
    [
        (PUBLISHED, (512, 256), 1057),
        (replace(PUBLISHED, n_scales=2), (1024, 512), 1650),
        (replace(PUBLISHED, n_scales=3), (2048, 1024), 2532),
        (GeneratorConfig(condition_channels=15), (512, 512), 1717),
    ],
)
def test_published_networks_have_the_published_macs(config, size, gmacs):
    assert round(sum(count_frame_macs(config, size).values()) / 1e9) == gmacs


def run(*flags: str) -> None:
    with (
        patch.object(sys, "argv", ["bench.py", *flags, "--rounds", "1", "--gpu_ids", "-1"]),
        patch("scripts.benchmarks.videos.MAX_VIDEO_FRAMES", MIN_VIDEO_FRAMES),
    ):
        bench.main()


@pytest.mark.parametrize(
    "flags",
    [
        ["--mode", "street", "--size", "64x32", "--amp", "off", "bf16"],
        ["--mode", "pose", "--size", "64x128", "--amp", "off"],
    ],
)
def test_frames_are_timed_and_compared(flags, tmp_path, capsys):
    run(
        *flags, "--ngf", "4", "--what", "synthesis", "parts", "--json", str(tmp_path / "found.json")
    )
    found = json.loads((tmp_path / "found.json").read_text())
    plain, ours, *half = found["synthesis"]
    assert plain["ratio"] == 1 and all(row["psnr"] > 30 for row in half)
    assert all(row["to_mp4"] > 0 for row in found["synthesis"])
    assert ours["difference"] < 1e-3  # norms of maps as small as these enlarge rounding
    assert set(found["parts"]) == set(FRAME_PARTS) and all(
        seconds > 0 for part, seconds in found["parts"].items()
    )
    assert found["limits"]["gmacs"]["off"] > 0 and "| reference " in capsys.readouterr().out


def test_relative_residual_separates_linear_from_quadratic():
    straight = [ScalingPoint(x, 1 + 2 * x, 0) for x in (1, 2, 4)]
    assert fit_line(straight) == pytest.approx((1, 2)) and max_relative_residual(straight) < 1e-9
    assert max_relative_residual([ScalingPoint(x, x**2, 0) for x in (1, 2, 4)]) > 0.05


def test_fastest_round_of_every_frame_is_summed():
    assert sum_fastest_rounds([1, 9, 5, 2, 3, 3], n_rounds=2) == 1 + 3 + 3


def test_scaling_is_measured_and_plotted(tmp_path, capsys):
    sizes = {
        "VIDEO_LENGTHS": (1, 3),
        "FRAME_WIDTHS": (64, 128),
        "VIDEO_COUNTS": (1, 3),
        "SHORT_VIDEO_LENGTH": 1,
    }
    with patch.multiple("scripts.benchmarks.scaling", **sizes):
        run(
            "--what",
            "growth",
            "--ngf",
            "4",
            "--json",
            str(tmp_path / "found.json"),
            "--plot",
            str(tmp_path / "g.png"),
        )
    growth = json.loads((tmp_path / "found.json").read_text())["growth"]
    assert [[point["x"] for point in points] for points in growth.values()] == [
        [1, 3],
        [64 * 32, 128 * 64],
        [1, 3],
        [1, 3],
    ]
    assert all(
        point["peak"] > 0 and point["seconds"] > 0 for points in growth.values() for point in points
    )
    with Image.open(tmp_path / "g.png") as drawn:
        assert min(drawn.size) > 500
    said = capsys.readouterr().out
    assert all(
        f"\n{curve}: {points[0]['x']} to {points[1]['x']} take" in said
        for curve, points in growth.items()
    )


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process forget its peak"
)
def test_peak_memory_excludes_earlier_workloads():
    cpu = torch.device("cpu")

    def take(numbers: int):
        yield torch.ones(numbers).sum()

    large, small = (
        measure_peak_process_memory(partial(take, 2**26), cpu),
        measure_peak_process_memory(partial(take, 2**20), cpu),
    )
    assert large - small > 0.2  # GiB
