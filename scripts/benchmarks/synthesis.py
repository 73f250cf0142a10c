"""Frames by the program and by the plain way: from decoded clips to images on the device, and from files to files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.benchmarks import reference_implementation
from scripts.benchmarks.case import BenchmarkCase
from scripts.benchmarks.macs import count_frame_macs
from scripts.benchmarks.report import REFERENCE_NAME, BenchmarkRow, make_row
from scripts.benchmarks.timing import DeviceLimits, Timings, time_interleaved
from scripts.benchmarks.videos import measure_video_fps
from util.clip import Clip


def measure_synthesis(
    case: BenchmarkCase,
    precisions: Sequence[str],
    frames: int,
    rounds: int,
    limits: DeviceLimits,
    folder: Path,
) -> list[BenchmarkRow]:
    """The plain way's row first; then one for each precision (off: float32). folder: for the videos that are written."""
    clips = case.read_clips(frames)
    loaded = [clip.to(torch.device("cpu")) for clip in clips]  # as float32, before the clock runs
    ways = {REFERENCE_NAME: partial(generate_reference_images, case, loaded)}
    subjects = {precision: case.prepare_for_inference(precision) for precision in precisions}
    ways |= {precision: partial(generate_images, own, clips) for precision, own in subjects.items()}
    taken = time_interleaved(ways, rounds, case.device)
    arithmetic = sum(count_frame_macs(case.generator_config, get_frame_size(clips[0])).values())
    frame_seconds = {way: found.median_seconds for way, found in taken.items()}
    to_mp4 = measure_video_fps({REFERENCE_NAME: case} | subjects, frame_seconds, rounds, folder)
    return [
        replace(
            make_synthesis_row(way, found, taken[REFERENCE_NAME], arithmetic, limits),
            to_mp4=to_mp4[way],
        )
        for way, found in taken.items()
    ]


def generate_images(case: BenchmarkCase, clips: Sequence[Clip]) -> Iterator[Tensor]:
    for _, image in case.synthesizer.synthesize(clips):
        yield image


def generate_reference_images(case: BenchmarkCase, clips: Sequence[Clip]) -> Iterator[Tensor]:
    for _, image in reference_implementation.reference_synthesize(
        case.networks, clips, case.first_frames, case.synthesis, case.device
    ):
        yield image


def get_frame_size(clip: Clip) -> tuple[int, int]:
    height, width = clip.condition.shape[-2:]
    return width, height


def make_synthesis_row(
    name: str, timings: Timings, reference: Timings, macs: int, limits: DeviceLimits
) -> BenchmarkRow:
    limit = limits.gmacs.get(name, limits.gmacs["off"])
    difference, psnr = compare_images(timings.outputs, reference.outputs)
    return make_row(
        "float32" if name == "off" else name,
        timings,
        reference,
        macs,
        limit,
        difference,
        psnr if name in ("bf16", "fp16") else None,
    )


def compare_images(images: Sequence[Any], reference_images: Sequence[Any]) -> tuple[float, float]:
    """Largest difference and PSNR in dB of images in [-1, 1]."""
    errors = torch.stack([a - b for a, b in zip(images, reference_images, strict=True)])
    return errors.abs().max().item(), -10 * (errors.square().mean() / 4).log10().item()
