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

from models.together import synthesise_together
from scripts.benchmark.clock import Way, in_turn, peak_of
from scripts.benchmark.subject import Size, Subject, drawn_subject, toy_frames
from util.clip import Clip

LENGTHS, WIDTHS, VIDEOS = (4, 8, 16, 32, 64), (128, 192, 256, 384, 512, 768), (1, 2, 4, 8)
SHORT = 4  # frames of a video where something else grows
PANELS = {  # by what grows: how that is told, and what the curves of the panel are
    "frames": (f"frames of one video, {WIDTHS[0]} wide", {"frames": "one video"}),
    "pixels": (f"pixels a frame, {SHORT} frames", {"pixels": "one video"}),
    "videos": (f"videos of {SHORT} frames, {WIDTHS[0]} wide",
               {"videos": "one after the other", "videos side by side": "side by side"})}

Works = Mapping[float, Way]  # by x


@dataclass(frozen=True)
class Point:
    """x: frames, pixels or videos. seconds: the sum over frames, of each the fastest round, as whatever else the
    machine does only adds. peak: GiB."""

    x: float
    seconds: float
    peak: float


Growth = dict[str, list[Point]]  # by curve


def measure_growth(mode: str, ngf: int, folder: Path, device: torch.device, rounds: int) -> Growth:
    def subject(width: int) -> Subject:
        size = Size(width, width if mode == "face" else width // 2 // 32 * 32)
        return drawn_subject(mode, size, ngf, toy_frames(mode, size, folder / str(size), 1, SHORT + 2), device)

    small, *others = map(subject, WIDTHS)
    curves: dict[str, Works] = {
        "frames": {n: partial(paint, small, n) for n in LENGTHS},
        "pixels": {pixels(sized): partial(paint, sized, SHORT) for sized in (small, *others)},
        "videos": {n: partial(paint, small, SHORT, times=n) for n in VIDEOS},
        "videos side by side": {n: partial(paint, small, SHORT, at_once=n) for n in VIDEOS}}
    return dict(zip(curves, points(list(curves.values()), rounds, device), strict=True))


def pixels(subject: Subject) -> int:
    return subject.clips(1)[0].condition[0, 0, 0].numel()


def paint(subject: Subject, frames: int, times: int = 1, at_once: int = 1) -> Iterator[int]:
    """Videos of so many generated frames, a unit each: `times` after each other, `at_once` side by side."""
    def video(clips: Sequence[Clip]) -> Iterator[Clip]:
        return islice(cycle(clips), frames + subject.synthesis.n_frames - 1)

    clips = subject.clips(1)
    for _ in range(times):
        videos = [video(clips) for _ in range(at_once)]
        for number, _, _ in synthesise_together(subject.networks, videos, subject.first, subject.synthesis,
                                                subject.device):
            yield number


def points(curves: Sequence[Works], rounds: int, device: torch.device) -> list[list[Point]]:
    """Memory first, of each work by itself, which also warms up; then time, all works in every round."""
    peaks = {(n, x): peak_of(work, device) for n, works in enumerate(curves) for x, work in works.items()}
    taken = in_turn({f"{n} {x}": work for n, works in enumerate(curves) for x, work in works.items()}, rounds, device,
                    warm=True)
    return [[Point(x, undisturbed(taken[f"{n} {x}"].seconds, rounds), peaks[n, x]) for x in works]
            for n, works in enumerate(curves)]


def undisturbed(seconds: Sequence[float], rounds: int) -> float:
    """seconds: of all units of the first round, then of the next."""
    return float(np.reshape(seconds, (rounds, -1)).min(axis=0).sum())


def line(points: Sequence[Point]) -> tuple[float, float]:
    """Seconds at the start, and for each x: of the straight line that is nearest in shares of the seconds."""
    xs, ys = (np.array([getattr(p, name) for p in points]) for name in ("x", "seconds"))
    slope, start = np.polyfit(xs, ys, 1, w=1 / ys)
    return float(start), float(slope)


def bent(points: Sequence[Point]) -> float:
    """Largest distance from that line, as a share of a point's seconds."""
    start, slope = line(points)
    return max(abs(start + slope * p.x - p.seconds) / p.seconds for p in points)


def told(growth: Growth) -> str:
    return "\n".join(
        f"{what}: {points[0].x:.0f} to {points[-1].x:.0f} take {points[0].seconds:.3f} to {points[-1].seconds:.2f} s, "
        f"a line of {1000 * line(points)[0]:.0f} ms + {1000 * line(points)[1]:.3g} ms each to {bent(points):.1%}; "
        f"peak memory {points[0].peak:.2f} to {points[-1].peak:.2f} GiB"
        for what, points in growth.items())


def plot(growth: Growth, path: Path) -> None:
    """Above seconds, with their lines; below peak memory."""
    figure = Figure(figsize=(4 * len(PANELS), 6), layout="constrained")
    above, below = figure.subplots(2, len(PANELS), sharex="col", height_ratios=(3, 2))
    most = max(point.peak for points in growth.values() for point in points)
    for time, memory, (title, curves) in zip(above, below, PANELS.values(), strict=True):
        for number, (curve, label) in enumerate(curves.items()):
            draw(growth[curve], label, f"C{number}", time, memory)
        xs = [point.x for point in growth[next(iter(curves))]]
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


def draw(points: Sequence[Point], label: str, colour: str, time: Axes, memory: Axes) -> None:
    (start, slope), xs = line(points), [point.x for point in points]
    between = np.geomspace(xs[0], xs[-1])
    time.plot(xs, [point.seconds for point in points], "o", color=colour, label=label)
    time.plot(between, start + slope * between, color=colour, lw=1, alpha=0.7,
              label=f"{1000 * start:.0f} ms + {1000 * slope:.3g} ms each")
    memory.plot(xs, [point.peak for point in points], "o-", color=colour, lw=1)
