"""scripts/benchmarks/bench.py at small sizes: its counts, its results, and its agreement with the reference."""

import json
import sys
from collections.abc import Iterator
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
def test_published_networks_have_the_published_macs(
    config: GeneratorConfig, size: tuple[int, int], gmacs: int
) -> None:
    assert round(sum(count_frame_macs(config, size).values()) / 1e9) == gmacs


def run_bench(*flags: str) -> None:
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
def test_frames_are_timed_and_compared(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    run_bench(*flags, "--ngf", "4", "--what", "synthesis", "parts", "--json", str(path))
    results = json.loads(path.read_text())
    reference, float32, *half = results["synthesis"]
    assert reference["ratio"] == 1
    assert all(row["psnr"] > 30 for row in half)
    assert all(row["to_mp4"] > 0 for row in results["synthesis"])
    assert float32["difference"] < 1e-3  # norms of such small maps enlarge rounding errors
    assert set(results["parts"]) == set(FRAME_PARTS)
    assert all(seconds > 0 for seconds in results["parts"].values())
    assert results["limits"]["gmacs"]["off"] > 0
    assert "| reference " in capsys.readouterr().out


def test_relative_residual_separates_linear_from_quadratic() -> None:
    linear = [ScalingPoint(x, 1 + 2 * x, 0) for x in (1, 2, 4)]
    quadratic = [ScalingPoint(x, x**2, 0) for x in (1, 2, 4)]
    assert fit_line(linear) == pytest.approx((1, 2))
    assert max_relative_residual(linear) < 1e-9
    assert max_relative_residual(quadratic) > 0.05


def test_fastest_round_of_every_frame_is_summed() -> None:
    assert sum_fastest_rounds([1, 9, 5, 2, 3, 3], n_rounds=2) == 1 + 3 + 3


def test_scaling_is_measured_and_plotted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {
        "VIDEO_LENGTHS": (1, 3),
        "FRAME_WIDTHS": (64, 128),
        "VIDEO_COUNTS": (1, 3),
        "SHORT_VIDEO_LENGTH": 1,
    }
    json_path, plot_path = tmp_path / "results.json", tmp_path / "growth.png"
    files = ["--json", str(json_path), "--plot", str(plot_path)]
    with patch.multiple("scripts.benchmarks.scaling", **sizes):
        run_bench("--what", "growth", "--ngf", "4", *files)
    curves = json.loads(json_path.read_text())["growth"]
    x = [[point["x"] for point in points] for points in curves.values()]
    assert x == [[1, 3], [64 * 32, 128 * 64], [1, 3], [1, 3]]
    all_points = [point for points in curves.values() for point in points]
    assert all(point["peak"] > 0 and point["seconds"] > 0 for point in all_points)
    with Image.open(plot_path) as image:
        assert min(image.size) > 500
    output = capsys.readouterr().out
    for curve, (first, last) in curves.items():
        assert f"\n{curve}: {first['x']} to {last['x']} take" in output


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="only Linux can reset the peak memory of a process",
)
def test_peak_memory_excludes_earlier_workloads() -> None:
    cpu = torch.device("cpu")

    def allocate(n_values: int) -> Iterator[torch.Tensor]:
        yield torch.ones(n_values).sum()

    large = measure_peak_process_memory(partial(allocate, 2**26), cpu)
    small = measure_peak_process_memory(partial(allocate, 2**20), cpu)
    assert large - small > 0.2  # GiB
