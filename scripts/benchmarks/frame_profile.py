"""Where the time of a frame goes: a hook on every layer, and a clock around what is no layer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn

import models.networks.generators
from scripts.benchmarks.case import BenchmarkCase
from scripts.benchmarks.timing import synchronize
from util.io.result_writer import OutputVideo, SequenceWriter, write_frames

FRAME_PARTS = (
    "data",
    "first convs",
    "downs",
    "trunk",
    "ups",
    "heads",
    "warp",
    "encode",
    "the rest",
)

SecondsByPart = defaultdict[str, float]


def classify_layer(layer: str) -> str:
    """layer: `STAGE.NUMBER...` of a generator, its norms and activations included."""
    stage, number = layer.split(".")[:2]
    if "final" in stage:
        return "heads"
    if "conv_block" in layer:
        return "trunk"
    if "_up" in stage:
        return "ups"
    return "first convs" if int(number) < 4 else "downs"  # padding, convolution, norm, activation


def time_frame_parts(case: BenchmarkCase, n_frames: int, folder: Path) -> dict[str, float]:
    """Seconds of one frame, from files to files, one thing after the other; the first frame warms up."""
    seconds: SecondsByPart = defaultdict(float)
    (_, reader, _), *_ = case.open_sequences().sequences
    clips = time_items(islice(reader, n_frames + case.options.n_frames_G), "data", seconds)
    made = case.synthesizer.synthesize(clips)
    with (
        SequenceWriter(
            folder, 25, {"real_A": ".png", "fake_B": ".jpg", "real_B": ".jpg"}
        ) as writer,
        timed_layers(case, seconds),
        OutputVideo(None, Fraction(25)) as output,
    ):
        show = case.frame_reader.condition_to_image
        write_frames([(0, *next(made))], show, [writer], output)
        seconds.clear()
        began = time.perf_counter()
        for frame in made:
            with timed_part("encode", seconds, case.device):
                write_frames([(0, *frame)], show, [writer], output)
        total = time.perf_counter() - began
    seconds["the rest"] = total - sum(seconds.values())
    return {part: seconds[part] / n_frames for part in FRAME_PARTS}


@contextmanager
def timed_part(part: str, seconds: SecondsByPart, device: torch.device) -> Iterator[None]:
    synchronize(device)
    began = time.perf_counter()
    yield
    synchronize(device)
    seconds[part] += time.perf_counter() - began


def time_items(items: Iterator, part: str, seconds: SecondsByPart) -> Iterator:
    """The items, and how long each took to come."""
    end = object()
    while True:
        with timed_part(part, seconds, torch.device("cpu")):
            item = next(items, end)
        if item is end:
            return
        yield item


@contextmanager
def timed_layers(case: BenchmarkCase, seconds: SecondsByPart) -> Iterator[None]:
    """Every layer that holds no other."""
    original: Callable = models.networks.generators.warp

    def warp(*arguments: torch.Tensor) -> torch.Tensor:
        with timed_part("warp", seconds, case.device):
            return original(*arguments)

    with ExitStack() as stack:
        stack.enter_context(patch.object(models.networks.generators, "warp", warp))
        for network in case.networks:
            for name, layer in network.named_modules():
                if not list(layer.children()):
                    for handle in add_timing_hooks(
                        layer, classify_layer(name), seconds, case.device
                    ):
                        stack.callback(handle.remove)
        yield


def add_timing_hooks(
    layer: nn.Module, part: str, seconds: SecondsByPart, device: torch.device
) -> list:
    began = [0.0]

    def before(*_: object) -> None:
        synchronize(device)
        began[0] = time.perf_counter()

    def after(*_: object) -> None:
        synchronize(device)
        seconds[part] += time.perf_counter() - began[0]

    return [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
