"""Benchmark results as Markdown tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tabulate import tabulate

from scripts.benchmarks.timing import DeviceLimits, Timings
from util.io.atomic import atomic_write

REFERENCE_NAME = "reference"  # name of the row that the others are compared with


@dataclass(frozen=True)
class BenchmarkRow:
    """Measurements of one implementation or precision.

    Attributes:
        name: The implementation or precision.
        seconds: Median seconds of a unit: a frame or a training step.
        rate: Units per second.
        ratio: Speed relative to the reference implementation.
        gmacs: 10^9 multiply-accumulates per second. Those of the full network are counted, also
            where an optimization avoids some of them.
        utilization: `gmacs` relative to a large matrix product in this precision.
        peak: Peak memory in GiB.
        difference: Largest difference from the reference implementation.
        psnr: PSNR in dB against the reference implementation; None for float32 and training.
        to_mp4: Frames per second from files to a written mp4; None for training.
    """

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
    "implementation",
    "ms",
    "per second",
    "speedup",
    "GMAC/s",
    "of the limit",
    "peak GiB",
    "difference",
    "PSNR dB",
    "files to mp4, per second",
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
    """Compute a row from timings.

    Args:
        name: The implementation or precision.
        timings: Its timings.
        reference: The timings of the reference implementation.
        macs: Multiply-accumulates of the full network per unit.
        limit: 10^9 multiply-accumulates per second that the device can reach.
        difference: Largest difference from the reference implementation.
        psnr: PSNR in dB against the reference implementation.

    Returns:
        The row, without `to_mp4`.
    """
    gmacs = macs / 1e9 / timings.median_seconds
    return BenchmarkRow(
        name=name,
        seconds=timings.median_seconds,
        rate=1 / timings.median_seconds,
        ratio=reference.median_seconds / timings.median_seconds,
        gmacs=gmacs,
        utilization=gmacs / limit,
        peak=timings.peak,
        difference=difference,
        psnr=psnr,
    )


def format_cells(row: BenchmarkRow) -> tuple[str, ...]:
    """Format a row as the cells of `BENCHMARK_COLUMNS`."""
    return (
        row.name,
        f"{1000 * row.seconds:.0f}",
        f"{row.rate:.2f}",
        f"{row.ratio:.2f}",
        f"{row.gmacs:.1f}",
        f"{row.utilization:.0%}",
        f"{row.peak:.2f}",
        f"{row.difference:.1e}",
        "" if row.psnr is None else f"{row.psnr:.1f}",
        "" if row.to_mp4 is None else f"{row.to_mp4:.2f}",
    )


def format_markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table whose cells are text, left-aligned and not converted."""
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def format_limits(limits: DeviceLimits) -> str:
    """Describe the limits of the device in one line."""
    products = ", ".join(f"{name} {value:.0f} GMAC/s" for name, value in limits.gmacs.items())
    return f"limits measured in this run: matrix product {products}; copy {limits.gbytes:.0f} GB/s"


def write_benchmark_json(path: Path, results: dict[str, object]) -> None:
    """Write all results as JSON."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1, default=asdict) + "\n", encoding="utf-8")
