"""What an evaluation leaves: figures as JSON, as a table for the terminal, and on one page with its curves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dominate import tags
from dominate.util import raw

from util import html
from util.charts import line_chart
from util.files import replacing

Figures = Mapping[str, float]
MEANING = {
    "psnr": "dB, higher is nearer", "ssim": "up to 1, higher is nearer", "lpips": "lower is nearer",
    "warping_error": "of the generated video, lower is steadier", "warping_error_real": "of the real video, to compare",
    "flicker": "of the generated video, lower is steadier", "flicker_real": "of the real video, to compare",
    "fid": "published Inception features, lower is nearer",
    "mean_iou": "of what the segmenter finds, up to 1",
}


@dataclass(frozen=True)
class Report:
    """settings: what was compared, and how, in words. drift: change of a figure per 100 frames. curves: the mean figure
    at each frame number."""

    settings: Mapping[str, str]
    warnings: Sequence[str]
    mean: Figures
    drift: Figures
    sequences: Mapping[str, Figures]
    curves: Mapping[str, Sequence[float]]


def write_report(folder: Path, report: Report) -> None:
    """`folder`/evaluation.json, in which what is not finite is null or "inf", and `folder`/index.html."""
    with replacing(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(_plain(asdict(report)), indent=1, allow_nan=False))
    html.write(folder / "index.html", _page(report))


def table(report: Report) -> str:
    """For the terminal."""
    lines = [f"{name:28} {_text(value):>10}   {_meaning(name)}" for name, value in report.mean.items()]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in report.warnings)])


def _page(report: Report) -> html.dominate.document:
    page, body = html.document("Evaluation", f"{len(report.sequences)} sequences", 520)
    body.add(html.section("Compared")).add(_table(["", ""], report.settings.items()))
    for warning in report.warnings:
        body.add(tags.p(warning, cls="warning"))
    rows = [(name, _text(value), _text(report.drift.get(name, math.nan)), _meaning(name))
            for name, value in report.mean.items()]
    body.add(html.section("Figures", "means over all frames")).add(_table(["", "mean", "per 100 frames", ""], rows))
    charts = body.add(html.section("Over the frame number", "a slope is drift")).add(tags.div(cls="row"))
    for name, curve in report.curves.items():
        charts.add(raw(line_chart(name, "frame", {name: (range(len(curve)), curve)})))
    names = list(dict.fromkeys(name for figures in report.sequences.values() for name in figures))
    body.add(html.section("Sequences")).add(_table(["", *names], (
        (sequence, *(_text(figures.get(name, math.nan)) for name in names))
        for sequence, figures in report.sequences.items())))
    return page


def _table(head: Sequence[str], rows: object) -> tags.table:
    return tags.table(tags.tr(*map(tags.th, head)), *(tags.tr(*map(tags.td, row)) for row in rows))  # type: ignore


def _meaning(name: str) -> str:
    return MEANING.get(name, "lower is nearer; comparable within this extractor alone" if "frechet" in name else "")


def _text(value: float) -> str:
    return "" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.4g}"


def _plain(value: object) -> object:
    """JSON knows no nan and no infinity."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value
