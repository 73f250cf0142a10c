"""Cost against length, size and number of videos: seconds should grow in proportion, memory not with the length."""

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

VIDEO_LENGTHS, FRAME_WIDTHS, VIDEO_COUNTS = (
    (4, 8, 16, 32, 64),
    (128, 192, 256, 384, 512, 768),
    (1, 2, 4, 8),
)
SHORT_VIDEO_LENGTH = 4  # frames of a video where something else grows
_PLOT_PANELS = {  # by what grows: how that is told, and what the curves of the panel are
    "frames": (f"frames of one video, {FRAME_WIDTHS[0]} wide", {"frames": "one video"}),
    "pixels": (f"pixels a frame, {SHORT_VIDEO_LENGTH} frames", {"pixels": "one video"}),
    "videos": (
        f"videos of {SHORT_VIDEO_LENGTH} frames, {FRAME_WIDTHS[0]} wide",
        {"videos": "one after the other", "videos side by side": "side by side"},
    ),
}

WorkloadsByX = Mapping[float, Workload]  # by x


@dataclass(frozen=True)
class ScalingPoint:
    """x: frames, pixels or videos. seconds: the sum over frames, of each the fastest round, as whatever else the
    machine does only adds. peak: GiB."""

    x: float
    seconds: float
    peak: float


ScalingCurves = dict[str, list[ScalingPoint]]  # by curve


def measure_scaling(
    mode: str, ngf: int, folder: Path, device: torch.device, rounds: int
) -> ScalingCurves:
    def subject(width: int) -> BenchmarkCase:
        size = FrameSize(width, width if mode == "face" else width // 2 // 32 * 32)
        return make_random_case(
            mode,
            size,
            ngf,
            make_benchmark_data(mode, size, folder / str(size), 1, SHORT_VIDEO_LENGTH + 2),
            device,
        )

    small, *others = map(subject, FRAME_WIDTHS)
    curves: dict[str, WorkloadsByX] = {
        "frames": {n: partial(generate_videos, small, n) for n in VIDEO_LENGTHS},
        "pixels": {
            count_frame_pixels(sized): partial(generate_videos, sized, SHORT_VIDEO_LENGTH)
            for sized in (small, *others)
        },
        "videos": {
            n: partial(generate_videos, small, SHORT_VIDEO_LENGTH, n_repeats=n)
            for n in VIDEO_COUNTS
        },
        "videos side by side": {
            n: partial(generate_videos, small, SHORT_VIDEO_LENGTH, batch_size=n)
            for n in VIDEO_COUNTS
        },
    }
    return dict(zip(curves, measure_curves(list(curves.values()), rounds, device), strict=True))


def count_frame_pixels(case: BenchmarkCase) -> int:
    return case.read_clips(1)[0].condition[0, 0, 0].numel()


def generate_videos(
    case: BenchmarkCase, n_frames: int, n_repeats: int = 1, batch_size: int = 1
) -> Iterator[int]:
    """Videos of so many generated frames, a unit each: `times` after each other, `at_once` side by side."""

    def video(clips: Sequence[Clip]) -> Iterator[Clip]:
        return islice(cycle(clips), n_frames + case.synthesis.n_frames_G - 1)

    clips = case.read_clips(1)
    for _ in range(n_repeats):
        videos = [video(clips) for _ in range(batch_size)]
        for number, _, _ in synthesize_batched(case.synthesizer, videos):
            yield number


def measure_curves(
    curves: Sequence[WorkloadsByX], rounds: int, device: torch.device
) -> list[list[ScalingPoint]]:
    """Memory first, of each work by itself, which also warms up; then time, all works in every round."""
    peaks = {
        (n, x): measure_peak_process_memory(work, device)
        for n, works in enumerate(curves)
        for x, work in works.items()
    }
    taken = time_interleaved(
        {f"{n} {x}": work for n, works in enumerate(curves) for x, work in works.items()},
        rounds,
        device,
        is_warm=True,
    )
    return [
        [
            ScalingPoint(x, sum_fastest_rounds(taken[f"{n} {x}"].seconds, rounds), peaks[n, x])
            for x in works
        ]
        for n, works in enumerate(curves)
    ]


def sum_fastest_rounds(seconds: Sequence[float], n_rounds: int) -> float:
    """seconds: of all units of the first round, then of the next."""
    return float(np.reshape(seconds, (n_rounds, -1)).min(axis=0).sum())


def fit_line(points: Sequence[ScalingPoint]) -> tuple[float, float]:
    """Seconds at the start, and for each x: of the straight line that is nearest in shares of the seconds."""
    xs, ys = (np.array([getattr(p, name) for p in points]) for name in ("x", "seconds"))
    slope, start = np.polyfit(xs, ys, 1, w=1 / ys)
    return float(start), float(slope)


def max_relative_residual(points: Sequence[ScalingPoint]) -> float:
    """Largest distance from that line, as a share of a point's seconds."""
    start, slope = fit_line(points)
    return max(abs(start + slope * p.x - p.seconds) / p.seconds for p in points)


def format_scaling(curves: ScalingCurves) -> str:
    return "\n".join(
        f"{what}: {points[0].x:.0f} to {points[-1].x:.0f} take {points[0].seconds:.3f} to {points[-1].seconds:.2f} s, "
        f"a line of {1000 * fit_line(points)[0]:.0f} ms + {1000 * fit_line(points)[1]:.3g} ms each to {max_relative_residual(points):.1%}; "
        f"peak memory {points[0].peak:.2f} to {points[-1].peak:.2f} GiB"
        for what, points in curves.items()
    )


def plot_scaling(curves: ScalingCurves, path: Path) -> None:
    """Above seconds, with their lines; below peak memory."""
    figure = Figure(figsize=(4 * len(_PLOT_PANELS), 6), layout="constrained")
    above, below = figure.subplots(2, len(_PLOT_PANELS), sharex="col", height_ratios=(3, 2))
    most = max(point.peak for points in curves.values() for point in points)
    for time, memory, (title, labels) in zip(above, below, _PLOT_PANELS.values(), strict=True):
        for number, (curve, label) in enumerate(labels.items()):
            _plot_curve(curves[curve], label, f"C{number}", time, memory)
        xs = [point.x for point in curves[next(iter(labels))]]
        time.set(xscale="log", ylabel="seconds")
        time.set_yscale("log", base=2)
        time.yaxis.set_major_formatter("{x:g}")
        memory.set(xlabel=title, ylabel="peak memory, GiB", ylim=(0, 1.15 * most))
        memory.set_xticks(xs, [f"{x / 1000:.0f}k" if x > 9999 else f"{x:.0f}" for x in xs])
        memory.set_xticks([], minor=True)
        time.legend(frameon=False)
    for axis in (*above, *below):
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _plot_curve(
    points: Sequence[ScalingPoint], label: str, color: str, time_axes: Axes, memory_axes: Axes
) -> None:
    (start, slope), xs = fit_line(points), [point.x for point in points]
    between = np.geomspace(xs[0], xs[-1])
    time_axes.plot(xs, [point.seconds for point in points], "o", color=color, label=label)
    time_axes.plot(
        between,
        start + slope * between,
        color=color,
        lw=1,
        alpha=0.7,
        label=f"{1000 * start:.0f} ms + {1000 * slope:.3g} ms each",
    )
    memory_axes.plot(xs, [point.peak for point in points], "o-", color=color, lw=1)
