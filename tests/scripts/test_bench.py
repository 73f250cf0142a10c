"""bench.py at toy size: it runs, its arithmetic is the published, and both ways make the same."""

import json
import sys
from dataclasses import replace
from unittest.mock import patch

import pytest

from models.generators import GeneratorConfig
from scripts import bench
from scripts.benchmark.arithmetic import frame_arithmetic
from scripts.benchmark.growth import Point, bent
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
    assert bent([Point(x, 1 + 2 * x, 0) for x in (1, 2, 4)]) < 1e-9
    assert bent([Point(x, x**2, 0) for x in (1, 2, 4)]) > 0.05
