"""Measurements as tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.benchmarks.timing import DeviceLimits, Timings
from util.io.atomic import atomic_write

REFERENCE_NAME = "plain way"  # the row that others are compared with


@dataclass(frozen=True)
class BenchmarkRow:
    """One way to do the work. seconds: of a frame or a step, the median. ratio: how many times faster than the plain
    way. gmacs: 10^9 multiply-accumulates of the full network a second, saved ones counted; share: of what a big matrix
    product reaches in this precision. peak: GiB. difference: largest, from the plain way. psnr: dB to it. to_mp4:
    frames a second from files to a written mp4."""

    name: str
    seconds: float
    rate: float
    ratio: float
    gmacs: float
    utilization: float
    peak: float
    difference: float
    psnr: float | None = None
    to_mp4: float | None = None


BENCHMARK_COLUMNS = (
    "way",
    "ms",
    "a second",
    "x plain",
    "GMAC/s",
    "of the limit",
    "peak GiB",
    "difference",
    "PSNR dB",
    "files to mp4, a second",
)


def make_row(
    name: str,
    timings: Timings,
    reference: Timings,
    macs: int,
    limit: float,
    difference: float,
    psnr: float | None = None,
) -> BenchmarkRow:
    """arithmetic: multiply-accumulates of the full network for one unit. limit: of the device, 10^9 a second."""
    gmacs = macs / 1e9 / timings.median_seconds
    return BenchmarkRow(
        name,
        timings.median_seconds,
        1 / timings.median_seconds,
        reference.median_seconds / timings.median_seconds,
        gmacs,
        gmacs / limit,
        timings.peak,
        difference,
        psnr,
    )


def format_cells(row: BenchmarkRow) -> tuple[str, ...]:
    psnr, to_mp4 = (
        "" if row.psnr is None else f"{row.psnr:.1f}",
        "" if row.to_mp4 is None else f"{row.to_mp4:.2f}",
    )
    return (
        row.name,
        f"{1000 * row.seconds:.0f}",
        f"{row.rate:.2f}",
        f"{row.ratio:.2f}",
        f"{row.gmacs:.1f}",
        f"{row.utilization:.0%}",
        f"{row.peak:.2f}",
        f"{row.difference:.1e}",
        psnr,
        to_mp4,
    )


def format_markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown that also reads well as text."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    shown = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in (header, ["-" * width for width in widths], *rows)
    ]
    return "\n".join(f"| {line} |" for line in shown)


def format_limits(limits: DeviceLimits) -> str:
    products = ", ".join(f"{name} {value:.0f} GMAC/s" for name, value in limits.gmacs.items())
    return f"limits measured in this run: matrix product {products}; copy {limits.gbytes:.0f} GB/s"


def write_benchmark_json(path: Path, results: dict[str, object]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1, default=asdict) + "\n", encoding="utf-8")
