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

from models.generators import GeneratorConfig
from scripts import bench
from scripts.benchmark.arithmetic import frame_arithmetic
from scripts.benchmark.clock import peak_of
from scripts.benchmark.growth import Point, bent, line, undisturbed
from scripts.benchmark.parts import PARTS
from scripts.benchmark.videos import LEAST

PUBLISHED = GeneratorConfig(condition_channels=36, foreground=(26,))


@pytest.mark.parametrize(("config", "size", "gmacs"), [
    (PUBLISHED, (512, 256), 1057), (replace(PUBLISHED, n_scales=2), (1024, 512), 1650),
    (replace(PUBLISHED, n_scales=3), (2048, 1024), 2532),
    (GeneratorConfig(condition_channels=15), (512, 512), 1717)])
def test_the_published_networks_have_the_published_arithmetic(config, size, gmacs):
    assert round(sum(frame_arithmetic(config, size).values()) / 1e9) == gmacs


def run(*flags: str) -> None:
    with (patch.object(sys, "argv", ["bench.py", *flags, "--rounds", "1", "--gpu_ids", "-1"]),
          patch("scripts.benchmark.videos.MOST", LEAST)):
        bench.main()


@pytest.mark.parametrize("flags", [["--mode", "street", "--size", "64x32", "--amp", "off", "bf16"],
                                   ["--mode", "pose", "--size", "64x128", "--amp", "off"]])
def test_frames_are_timed_and_compared(flags, tmp_path, capsys):
    run(*flags, "--ngf", "4", "--what", "synthesis", "parts", "--json", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    plain, ours, *half = found["synthesis"]
    assert plain["ratio"] == 1 and all(row["psnr"] > 30 for row in half)
    assert all(row["to_mp4"] > 0 for row in found["synthesis"])
    assert ours["difference"] < 1e-3  # norms of maps as small as these enlarge rounding
    assert set(found["parts"]) == set(PARTS) and all(seconds > 0 for part, seconds in found["parts"].items())
    assert found["limits"]["gmacs"]["off"] > 0 and "| plain way |" in capsys.readouterr().out


def test_a_straight_line_is_told_from_a_bent_one():
    straight = [Point(x, 1 + 2 * x, 0) for x in (1, 2, 4)]
    assert line(straight) == pytest.approx((1, 2)) and bent(straight) < 1e-9
    assert bent([Point(x, x**2, 0) for x in (1, 2, 4)]) > 0.05


def test_every_frame_counts_with_its_fastest_round():
    assert undisturbed([1, 9, 5, 2, 3, 3], rounds=2) == 1 + 3 + 3


def test_growth_is_measured_and_drawn(tmp_path, capsys):
    sizes = {"LENGTHS": (1, 3), "WIDTHS": (64, 128), "VIDEOS": (1, 3), "SHORT": 1}
    with patch.multiple("scripts.benchmark.growth", **sizes):
        run("--what", "growth", "--ngf", "4", "--json", str(tmp_path / "found.json"), "--plot", str(tmp_path / "g.png"))
    growth = json.loads((tmp_path / "found.json").read_text())["growth"]
    assert [[point["x"] for point in points] for points in growth.values()] == [
        [1, 3], [64 * 32, 128 * 64], [1, 3], [1, 3]]
    assert all(point["peak"] > 0 and point["seconds"] > 0 for points in growth.values() for point in points)
    with Image.open(tmp_path / "g.png") as drawn:
        assert min(drawn.size) > 500
    said = capsys.readouterr().out
    assert all(f"\n{curve}: {points[0]['x']} to {points[1]['x']} take" in said for curve, points in growth.items())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process forget its peak")
def test_peaks_forget_what_was_before():
    cpu = torch.device("cpu")

    def take(numbers: int):
        yield torch.ones(numbers).sum()

    large, small = peak_of(partial(take, 2**26), cpu), peak_of(partial(take, 2**20), cpu)
    assert large - small > 0.2  # GiB
