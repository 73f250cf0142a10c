"""Time and memory of synthesis by length, size and number of videos.

Time should grow linearly with each of them; memory should not grow with the length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.inference.batched import synthesize_batched
from scripts.benchmarks.case import BenchmarkCase, FrameSize, make_benchmark_data, make_random_case
from scripts.benchmarks.timing import Workload, measure_peak_process_memory, time_interleaved
from util.clip import Clip

VIDEO_LENGTHS = (4, 8, 16, 32, 64)
FRAME_WIDTHS = (128, 192, 256, 384, 512, 768)
VIDEO_COUNTS = (1, 2, 4, 8)
SHORT_VIDEO_LENGTH = 4  # frames per video where the size or the number of videos varies
_PLOT_PANELS = {  # by x: the label of the axis, and the labels of the curves
    "frames": (f"frames of one video, {FRAME_WIDTHS[0]} wide", {"frames": "one video"}),
    "pixels": (f"pixels per frame, {SHORT_VIDEO_LENGTH} frames", {"pixels": "one video"}),
    "videos": (
        f"videos of {SHORT_VIDEO_LENGTH} frames, {FRAME_WIDTHS[0]} wide",
        {"videos": "one after the other", "videos side by side": "side by side"},
    ),
}

WorkloadsByX = Mapping[float, Workload]


@dataclass(frozen=True)
class ScalingPoint:
    """One point of a curve.

    Attributes:
        x: Frames, pixels or videos.
        seconds: Sum over frames of each frame's fastest round, as other load only adds time.
        peak: Peak memory in GiB.
    """

    x: float
    seconds: float
    peak: float


ScalingCurves = dict[str, list[ScalingPoint]]


def measure_scaling(
    mode: str, ngf: int, folder: Path, device: torch.device, rounds: int
) -> ScalingCurves:
    """Measure the curves of all panels; networks are random, data is written to `folder`."""

    def make_case(width: int) -> BenchmarkCase:
        height = width if mode == "face" else width // 2 // 32 * 32
        size = FrameSize(width, height)
        data = make_benchmark_data(mode, size, folder / str(size), 1, SHORT_VIDEO_LENGTH + 2)
        return make_random_case(mode, size, ngf, data, device)

    cases = [make_case(width) for width in FRAME_WIDTHS]
    generate_small = partial(generate_videos, cases[0])
    generate_short = partial(generate_small, SHORT_VIDEO_LENGTH)
    curves: dict[str, WorkloadsByX] = {
        "frames": {n: partial(generate_small, n) for n in VIDEO_LENGTHS},
        "pixels": {
            count_frame_pixels(case): partial(generate_videos, case, SHORT_VIDEO_LENGTH)
            for case in cases
        },
        "videos": {n: partial(generate_short, n_repeats=n) for n in VIDEO_COUNTS},
        "videos side by side": {n: partial(generate_short, batch_size=n) for n in VIDEO_COUNTS},
    }
    points = measure_curves(list(curves.values()), rounds, device)
    return dict(zip(curves, points, strict=True))


def count_frame_pixels(case: BenchmarkCase) -> int:
    """Return the number of pixels of a frame."""
    return case.read_clips(1)[0].condition[0, 0, 0].numel()


def generate_videos(
    case: BenchmarkCase, n_frames: int, n_repeats: int = 1, batch_size: int = 1
) -> Iterator[int]:
    """Generate videos; yield once per frame.

    Args:
        case: The networks and the data.
        n_frames: Generated frames per video.
        n_repeats: Number of batches, one after the other.
        batch_size: Number of videos side by side.

    Yields:
        The index of the video within its batch.
    """
    clips = case.read_clips(1)
    n_clips = n_frames + case.synthesis.n_frames_G - 1

    def iter_video() -> Iterator[Clip]:
        return islice(cycle(clips), n_clips)

    for _ in range(n_repeats):
        videos = [iter_video() for _ in range(batch_size)]
        for index, _, _ in synthesize_batched(case.synthesizer, videos):
            yield index


def measure_curves(
    curves: Sequence[WorkloadsByX], rounds: int, device: torch.device
) -> list[list[ScalingPoint]]:
    """Measure curves: the memory of each workload first, which also warms up, then the time."""
    workloads = {
        f"{i} {x}": workload for i, curve in enumerate(curves) for x, workload in curve.items()
    }
    peaks = {
        name: measure_peak_process_memory(workload, device) for name, workload in workloads.items()
    }
    timings = time_interleaved(workloads, rounds, device, is_warm=True)

    def make_point(i: int, x: float) -> ScalingPoint:
        name = f"{i} {x}"
        return ScalingPoint(x, sum_fastest_rounds(timings[name].seconds, rounds), peaks[name])

    return [[make_point(i, x) for x in curve] for i, curve in enumerate(curves)]


def sum_fastest_rounds(seconds: Sequence[float], n_rounds: int) -> float:
    """Return the sum over units of each unit's fastest round.

    Args:
        seconds: Seconds of all units of the first round, then of the next, ...
        n_rounds: Number of rounds.
    """
    return float(np.reshape(seconds, (n_rounds, -1)).min(axis=0).sum())


def fit_line(points: Sequence[ScalingPoint]) -> tuple[float, float]:
    """Fit seconds = intercept + slope * x with the least relative error; return both."""
    x = np.array([point.x for point in points])
    seconds = np.array([point.seconds for point in points])
    slope, intercept = np.polyfit(x, seconds, 1, w=1 / seconds)
    return float(intercept), float(slope)


def max_relative_residual(points: Sequence[ScalingPoint]) -> float:
    """Return the largest deviation from the fitted line, relative to the measured seconds."""
    intercept, slope = fit_line(points)
    return max(abs(intercept + slope * p.x - p.seconds) / p.seconds for p in points)


def format_scaling(curves: ScalingCurves) -> str:
    """Describe each curve in one line."""
    return "\n".join(_format_curve(name, points) for name, points in curves.items())


def _format_curve(name: str, points: Sequence[ScalingPoint]) -> str:
    first, last = points[0], points[-1]
    intercept, slope = fit_line(points)
    return (
        f"{name}: {first.x:.0f} to {last.x:.0f} take {first.seconds:.3f} to {last.seconds:.2f} s, "
        f"fitted by {1000 * intercept:.0f} ms + {1000 * slope:.3g} ms each to "
        f"{max_relative_residual(points):.1%}; "
        f"peak memory {first.peak:.2f} to {last.peak:.2f} GiB"
    )


def plot_scaling(curves: ScalingCurves, path: Path) -> None:
    """Plot seconds with their fitted lines above, and peak memory below."""
    n_panels = len(_PLOT_PANELS)
    figure = Figure(figsize=(4 * n_panels, 6), layout="constrained")
    time_row, memory_row = figure.subplots(2, n_panels, sharex="col", height_ratios=(3, 2))
    max_peak = max(point.peak for points in curves.values() for point in points)
    panels = zip(time_row, memory_row, _PLOT_PANELS.values(), strict=True)
    for time_axes, memory_axes, (title, labels) in panels:
        for i, (curve, label) in enumerate(labels.items()):
            _plot_curve(curves[curve], label, f"C{i}", time_axes, memory_axes)
        x = [point.x for point in curves[next(iter(labels))]]
        time_axes.set(xscale="log", ylabel="seconds")
        time_axes.set_yscale("log", base=2)
        time_axes.yaxis.set_major_formatter("{x:g}")
        time_axes.legend(frameon=False)
        memory_axes.set(xlabel=title, ylabel="peak memory, GiB", ylim=(0, 1.15 * max_peak))
        memory_axes.set_xticks(x, [_format_tick(value) for value in x])
        memory_axes.set_xticks([], minor=True)
    for axes in (*time_row, *memory_row):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _format_tick(x: float) -> str:
    return f"{x / 1000:.0f}k" if x > 9999 else f"{x:.0f}"


def _plot_curve(
    points: Sequence[ScalingPoint], label: str, color: str, time_axes: Axes, memory_axes: Axes
) -> None:
    intercept, slope = fit_line(points)
    x = [point.x for point in points]
    line_x = np.geomspace(x[0], x[-1])
    line_label = f"{1000 * intercept:.0f} ms + {1000 * slope:.3g} ms each"
    time_axes.plot(x, [point.seconds for point in points], "o", color=color, label=label)
    time_axes.plot(
        line_x, intercept + slope * line_x, color=color, lw=1, alpha=0.7, label=line_label
    )
    memory_axes.plot(x, [point.peak for point in points], "o-", color=color, lw=1)
