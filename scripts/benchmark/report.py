"""Measurements as tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.benchmark.clock import Limits, Taken
from util.files import replacing

PLAIN = "plain way"  # the row that others are compared with


@dataclass(frozen=True)
class Row:
    """One way to do the work. seconds: of a frame or a step, the median. ratio: how many times faster than the plain
    way. gmacs: 10^9 multiply-accumulates of the full network a second, saved ones counted; share: of what a big matrix
    product reaches in this precision. peak: GiB. difference: largest, from the plain way. psnr: dB to it. to_mp4:
    frames a second from files to a written mp4."""

    way: str
    seconds: float
    rate: float
    ratio: float
    gmacs: float
    share: float
    peak: float
    difference: float
    psnr: float | None = None
    to_mp4: float | None = None


HEADS = ("way", "ms", "a second", "x plain", "GMAC/s", "of the limit", "peak GiB", "difference", "PSNR dB",
         "files to mp4, a second")


def row_of(way: str, taken: Taken, plain: Taken, arithmetic: int, limit: float, difference: float,
           psnr: float | None = None) -> Row:
    """arithmetic: multiply-accumulates of the full network for one unit. limit: of the device, 10^9 a second."""
    gmacs = arithmetic / 1e9 / taken.typical
    return Row(way, taken.typical, 1 / taken.typical, plain.typical / taken.typical, gmacs, gmacs / limit, taken.peak,
               difference, psnr)


def cells(row: Row) -> tuple[str, ...]:
    psnr, to_mp4 = "" if row.psnr is None else f"{row.psnr:.1f}", "" if row.to_mp4 is None else f"{row.to_mp4:.2f}"
    return (row.way, f"{1000 * row.seconds:.0f}", f"{row.rate:.2f}", f"{row.ratio:.2f}", f"{row.gmacs:.1f}",
            f"{row.share:.0%}", f"{row.peak:.2f}", f"{row.difference:.1e}", psnr, to_mp4)


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown that also reads well as text."""
    widths = [max(len(line[i]) for line in (heads, *lines)) for i in range(len(heads))]
    shown = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
             for line in (heads, ["-" * width for width in widths], *lines)]
    return "\n".join(f"| {line} |" for line in shown)


def told(limits: Limits) -> str:
    products = ", ".join(f"{name} {value:.0f} GMAC/s" for name, value in limits.gmacs.items())
    return f"limits measured in this run: matrix product {products}; copy {limits.gbytes:.0f} GB/s"


def write_json(path: Path, found: dict[str, object]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1, default=asdict) + "\n", encoding="utf-8")
