"""Frames by the program and by the plain way: from decoded clips to pictures on the device, and from files to files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.synthesis import synthesise
from scripts import plain_way
from scripts.benchmark.arithmetic import frame_arithmetic
from scripts.benchmark.clock import Limits, Taken, in_turn
from scripts.benchmark.report import PLAIN, Row, row_of
from scripts.benchmark.subject import Subject
from scripts.benchmark.videos import measure_videos
from util.clip import Clip


def measure_synthesis(subject: Subject, precisions: Sequence[str], frames: int, rounds: int, limits: Limits,
                      folder: Path) -> list[Row]:
    """The plain way's row first; then one for each precision (off: float32). folder: for the videos that are written.
    """
    clips = subject.clips(frames)
    loaded = [clip.to(torch.device("cpu")) for clip in clips]  # as float32, before the clock runs
    ways = {PLAIN: partial(painted, plain_way.synthesise, subject, loaded)}
    subjects = {precision: subject.ready(precision) for precision in precisions}
    ways |= {precision: partial(painted, synthesise, own, clips) for precision, own in subjects.items()}
    taken = in_turn(ways, rounds, subject.device)
    arithmetic = sum(frame_arithmetic(subject.config, generated_size(clips[0])).values())
    frame_seconds = {way: found.typical for way, found in taken.items()}
    to_mp4 = measure_videos({PLAIN: subject} | subjects, frame_seconds, rounds, folder)
    return [replace(row(way, found, taken[PLAIN], arithmetic, limits), to_mp4=to_mp4[way])
            for way, found in taken.items()]


def painted(way: Callable[..., Iterator[tuple[Clip, Tensor]]], subject: Subject,
            clips: Sequence[Clip]) -> Iterator[Tensor]:
    for _, picture in way(subject.networks, clips, subject.first, subject.synthesis, subject.device):
        yield picture


def generated_size(clip: Clip) -> tuple[int, int]:
    height, width = clip.condition.shape[-2:]
    return width, height


def row(way: str, taken: Taken, plain: Taken, arithmetic: int, limits: Limits) -> Row:
    limit = limits.gmacs.get(way, limits.gmacs["off"])
    difference, psnr = compared(taken.made, plain.made)
    return row_of("float32" if way == "off" else way, taken, plain, arithmetic, limit, difference,
                  psnr if way in ("bf16", "fp16") else None)


def compared(ours: Sequence[Any], plain: Sequence[Any]) -> tuple[float, float]:
    """Largest difference and PSNR in dB of pictures in [-1, 1]."""
    errors = torch.stack([a - b for a, b in zip(ours, plain, strict=True)])
    return errors.abs().max().item(), -10 * (errors.square().mean() / 4).log10().item()
