"""Cost against length, size and number of videos: seconds should grow as the pixels do, memory not with the length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure

from models.synthesis import synthesise
from scripts.benchmark.clock import forget_peak, timed
from scripts.benchmark.subject import Size, Subject, drawn_subject, toy_frames
from util.placement.memory import peak_memory

LENGTHS, WIDTHS, VIDEOS = (4, 8, 16, 32), (128, 192, 256, 384), (1, 2, 4, 8)


@dataclass(frozen=True)
class Point:
    """x: frames, pixels or videos. peak: GiB."""

    x: float
    seconds: float
    peak: float


def measure_growth(mode: str, ngf: int, folder: Path, device: torch.device) -> dict[str, list[Point]]:
    """By what grows."""
    def subject(width: int) -> Subject:
        size = Size(width, width if mode == "face" else width // 2 // 32 * 32)
        return drawn_subject(mode, size, ngf, toy_frames(mode, size, folder / str(size), 1, 6), device)

    small = subject(WIDTHS[0])
    point(small, 0, 2)  # warms up
    return {"frames": [point(small, n, n) for n in LENGTHS],
            "pixels": [point(sized, pixels(sized), 4) for sized in map(subject, WIDTHS)],
            "videos": [point(small, n, 4 * n, each=4) for n in VIDEOS]}


def pixels(subject: Subject) -> int:
    return subject.clips(1)[0].condition[0, 0, 0].numel()


def point(subject: Subject, x: float, frames: int, each: int | None = None) -> Point:
    """each: frames of one video, where `frames` belong to several, one after the other."""
    clips = subject.clips(1)
    forget_peak(subject.device)

    def work() -> Iterator[int]:
        for number in range(frames // (each or frames)):
            endless = (clips[i % len(clips)] for i in range((each or frames) + subject.synthesis.n_frames - 1))
            for _ in synthesise(subject.networks, endless, subject.first, subject.synthesis, subject.device):
                pass
            yield number

    return Point(x, sum(timed(work(), subject.device)[0]), peak_memory([subject.device]).get(str(subject.device), 0.0))


def bent(points: Sequence[Point]) -> float:
    """Largest distance from the straight line through all, as a share of the last point's seconds."""
    xs, ys = (torch.tensor([getattr(p, name) for p in points], dtype=torch.float64) for name in ("x", "seconds"))
    slope, start = torch.linalg.lstsq(torch.stack([xs, torch.ones_like(xs)], dim=1), ys[:, None]).solution[:, 0]
    return float((slope * xs + start - ys).abs().max() / ys[-1])


def told(growth: dict[str, list[Point]]) -> str:
    return "\n".join(
        f"{what}: {points[0].x:.0f} to {points[-1].x:.0f} take {points[0].seconds:.2f} to {points[-1].seconds:.2f} s, "
        f"{bent(points):.1%} off a straight line; peak memory {points[0].peak:.2f} to {points[-1].peak:.2f} GiB"
        for what, points in growth.items())


def plot(growth: dict[str, list[Point]], path: Path) -> None:
    figure = Figure(figsize=(4 * len(growth), 3), layout="constrained")
    for number, (what, points) in enumerate(growth.items(), 1):
        axis = figure.add_subplot(1, len(growth), number)
        axis.plot([p.x for p in points], [p.seconds for p in points], "o-")
        axis.set(xlabel=what, ylabel="seconds", xlim=0, ylim=0)
        memory = axis.twinx()
        memory.plot([p.x for p in points], [p.peak for p in points], "s--", color="tab:orange")
        memory.set(ylabel="peak GiB", ylim=(0, 2 * max(p.peak for p in points)))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
