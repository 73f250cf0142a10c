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

import models.generators
from models.synthesis import synthesise
from scripts.benchmark.clock import wait_for
from scripts.benchmark.subject import Subject
from util.results import OutputVideo, SequenceWriter, write_frames

PARTS = ("data", "first convs", "downs", "trunk", "ups", "heads", "warp", "encode", "the rest")

Seconds = defaultdict[str, float]


def part_of(layer: str) -> str:
    """layer: `STAGE.NUMBER...` of a generator, its norms and activations included."""
    stage, number = layer.split(".")[:2]
    if "final" in stage:
        return "heads"
    if "conv_block" in layer:
        return "trunk"
    if "_up" in stage:
        return "ups"
    return "first convs" if int(number) < 4 else "downs"  # padding, convolution, norm, activation


def time_by_part(subject: Subject, frames: int, folder: Path) -> dict[str, float]:
    """Seconds of one frame, from files to files, one thing after the other; the first frame warms up."""
    seconds: Seconds = defaultdict(float)
    (_, reader, _), *_ = subject.readers().sequences
    clips = counted(islice(reader, frames + subject.options.n_frames_G), "data", seconds)
    made = synthesise(subject.networks, clips, subject.first, subject.synthesis, subject.device)
    with (SequenceWriter(folder, 25, {"real_A": ".png", "fake_B": ".jpg", "real_B": ".jpg"}) as writer,
          layers_timed(subject, seconds), OutputVideo(None, Fraction(25)) as output):
        show = subject.domain.show
        write_frames([(0, *next(made))], show, [writer], output)
        seconds.clear()
        began = time.perf_counter()
        for frame in made:
            with clock("encode", seconds, subject.device):
                write_frames([(0, *frame)], show, [writer], output)
        total = time.perf_counter() - began
    seconds["the rest"] = total - sum(seconds.values())
    return {part: seconds[part] / frames for part in PARTS}


@contextmanager
def clock(part: str, seconds: Seconds, device: torch.device) -> Iterator[None]:
    wait_for(device)
    began = time.perf_counter()
    yield
    wait_for(device)
    seconds[part] += time.perf_counter() - began


def counted(items: Iterator, part: str, seconds: Seconds) -> Iterator:
    """The items, and how long each took to come."""
    end = object()
    while True:
        with clock(part, seconds, torch.device("cpu")):
            item = next(items, end)
        if item is end:
            return
        yield item


@contextmanager
def layers_timed(subject: Subject, seconds: Seconds) -> Iterator[None]:
    """Every layer that holds no other."""
    original: Callable = models.generators.warp

    def warp(*arguments: torch.Tensor) -> torch.Tensor:
        with clock("warp", seconds, subject.device):
            return original(*arguments)

    with ExitStack() as stack:
        stack.enter_context(patch.object(models.generators, "warp", warp))
        for network in subject.networks:
            for name, layer in network.named_modules():
                if not list(layer.children()):
                    for handle in hooks(layer, part_of(name), seconds, subject.device):
                        stack.callback(handle.remove)
        yield


def hooks(layer: nn.Module, part: str, seconds: Seconds, device: torch.device) -> list:
    began = [0.0]

    def before(*_: object) -> None:
        wait_for(device)
        began[0] = time.perf_counter()

    def after(*_: object) -> None:
        wait_for(device)
        seconds[part] += time.perf_counter() - began[0]

    return [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
