"""Time of a frame by part: hooks on the layers of the generator, and timers around the rest."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

import models.networks.generators
from scripts.benchmarks.case import BenchmarkCase
from scripts.benchmarks.timing import synchronize
from scripts.benchmarks.videos import STREAM_SUFFIXES
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
_Item = TypeVar("_Item")


def classify_layer(layer: str) -> str:
    """Return the part of the generator that a layer belongs to, by its name `STAGE.NUMBER...`."""
    stage, number = layer.split(".")[:2]
    if "final" in stage:
        return "heads"
    if "conv_block" in layer:
        return "trunk"
    if "_up" in stage:
        return "ups"
    # Layers 0 to 3 are the padding, first convolution, norm and activation.
    return "first convs" if int(number) < 4 else "downs"


def time_frame_parts(case: BenchmarkCase, n_frames: int, folder: Path) -> dict[str, float]:
    """Return the seconds per frame by part, from files to files, without any overlap.

    One more frame is generated first, to warm up.
    """
    seconds: SecondsByPart = defaultdict(float)
    (_, reader, _), *_ = case.open_sequences().sequences
    clips = time_items(islice(reader, n_frames + case.options.n_frames_G), "data", seconds)
    frames = case.synthesizer.synthesize(clips)
    condition_to_image = case.frame_reader.condition_to_image
    with (
        SequenceWriter(folder, 25, STREAM_SUFFIXES) as writer,
        timed_layers(case, seconds),
        OutputVideo(None, Fraction(25)) as output,
    ):
        write_frames([(0, *next(frames))], condition_to_image, [writer], output)
        seconds.clear()
        start = time.perf_counter()
        for clip, image in frames:
            with timed_part("encode", seconds, case.device):
                write_frames([(0, clip, image)], condition_to_image, [writer], output)
        total = time.perf_counter() - start
    seconds["the rest"] = total - sum(seconds.values())
    return {part: seconds[part] / n_frames for part in FRAME_PARTS}


@contextmanager
def timed_part(part: str, seconds: SecondsByPart, device: torch.device) -> Iterator[None]:
    """Add the time of the block to a part."""
    synchronize(device)
    start = time.perf_counter()
    yield
    synchronize(device)
    seconds[part] += time.perf_counter() - start


def time_items(items: Iterator[_Item], part: str, seconds: SecondsByPart) -> Iterator[_Item]:
    """Yield the items; add the time that each took to arrive to a part."""
    while True:
        with timed_part(part, seconds, torch.device("cpu")):
            following = list(islice(items, 1))
        if not following:
            return
        yield following[0]


@contextmanager
def timed_layers(case: BenchmarkCase, seconds: SecondsByPart) -> Iterator[None]:
    """Time every layer without children, and the warp, inside the block."""
    original_warp: Callable = models.networks.generators.warp

    def warp(*args: torch.Tensor) -> torch.Tensor:
        with timed_part("warp", seconds, case.device):
            return original_warp(*args)

    with ExitStack() as stack:
        stack.enter_context(patch.object(models.networks.generators, "warp", warp))
        for network in case.networks:
            for name, layer in network.named_modules():
                if list(layer.children()):
                    continue
                handles = add_timing_hooks(layer, classify_layer(name), seconds, case.device)
                for handle in handles:
                    stack.callback(handle.remove)
        yield


def add_timing_hooks(
    layer: nn.Module, part: str, seconds: SecondsByPart, device: torch.device
) -> list[RemovableHandle]:
    """Add hooks to a layer that add the time of its calls to a part; return their handles."""
    start = 0.0

    def before(*_: object) -> None:
        nonlocal start
        synchronize(device)
        start = time.perf_counter()

    def after(*_: object) -> None:
        synchronize(device)
        seconds[part] += time.perf_counter() - start

    return [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
