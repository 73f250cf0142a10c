"""Speed of synthesis: from decoded clips to images on the device, and from files to a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.benchmarks.case import BenchmarkCase
from scripts.benchmarks.macs import count_frame_macs
from scripts.benchmarks.reference_implementation import reference_synthesize
from scripts.benchmarks.report import REFERENCE_NAME, BenchmarkRow, make_row
from scripts.benchmarks.timing import DeviceLimits, Timings, Workload, time_interleaved
from scripts.benchmarks.videos import measure_video_fps
from util.clip import Clip

_HALF_PRECISIONS = ("bf16", "fp16")


def measure_synthesis(
    case: BenchmarkCase,
    precisions: Sequence[str],
    frames: int,
    rounds: int,
    limits: DeviceLimits,
    folder: Path,
) -> list[BenchmarkRow]:
    """Measure the reference implementation, then the program in each precision.

    Args:
        case: The networks and the data.
        precisions: Values of `--amp`; "off" is float32.
        frames: Generated frames per round.
        rounds: Rounds of each.
        limits: Limits of the device.
        folder: Where videos are written.

    Returns:
        One row each, the reference implementation first.
    """
    clips = case.read_clips(frames)
    # The reference implementation loads float32 clips; they are converted before the timing.
    float_clips = [clip.to(torch.device("cpu")) for clip in clips]
    cases = {precision: case.prepare_for_inference(precision) for precision in precisions}
    workloads: dict[str, Workload] = {
        REFERENCE_NAME: partial(generate_reference_images, case, float_clips)
    }
    for precision, prepared in cases.items():
        workloads[precision] = partial(generate_images, prepared, clips)

    timings = time_interleaved(workloads, rounds, case.device)
    frame_seconds = {name: timing.median_seconds for name, timing in timings.items()}
    cases = {REFERENCE_NAME: case, **cases}
    video_fps = measure_video_fps(cases, frame_seconds, rounds, folder)
    macs = sum(count_frame_macs(case.generator_config, get_frame_size(clips[0])).values())
    reference = timings[REFERENCE_NAME]
    return [
        replace(make_synthesis_row(name, timing, reference, macs, limits), to_mp4=video_fps[name])
        for name, timing in timings.items()
    ]


def generate_images(case: BenchmarkCase, clips: Sequence[Clip]) -> Iterator[Tensor]:
    """Yield the images of a sequence."""
    for _, image in case.synthesizer.synthesize(clips):
        yield image


def generate_reference_images(case: BenchmarkCase, clips: Sequence[Clip]) -> Iterator[Tensor]:
    """Yield the images of a sequence, by the reference implementation."""
    frames = reference_synthesize(
        case.networks, clips, case.first_frames, case.synthesis, case.device
    )
    for _, image in frames:
        yield image


def get_frame_size(clip: Clip) -> tuple[int, int]:
    """Return the width and height of a clip."""
    height, width = clip.condition.shape[-2:]
    return width, height


def make_synthesis_row(
    name: str, timings: Timings, reference: Timings, macs: int, limits: DeviceLimits
) -> BenchmarkRow:
    """Compute a row; PSNR is reported for half precision only."""
    limit = limits.gmacs.get(name, limits.gmacs["off"])
    difference, psnr = compare_images(timings.outputs, reference.outputs)
    return make_row(
        "float32" if name == "off" else name,
        timings,
        reference,
        macs,
        limit,
        difference,
        psnr if name in _HALF_PRECISIONS else None,
    )


def compare_images(images: Sequence[Any], reference_images: Sequence[Any]) -> tuple[float, float]:
    """Return the largest difference and the PSNR in dB of images in [-1, 1]."""
    errors = torch.stack([a - b for a, b in zip(images, reference_images, strict=True)])
    psnr = -10 * (errors.square().mean() / 4).log10().item()
    return errors.abs().max().item(), psnr
