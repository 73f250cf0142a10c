"""What an evaluation leaves: figures as JSON, as a table for the terminal, and on one page with its curves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dominate import tags
from dominate.util import raw
from tabulate import tabulate

from util.images.plots import render_line_chart
from util.io.atomic import atomic_write
from util.pages import layout

_MetricValues = Mapping[str, float]
_METRIC_DESCRIPTIONS = {
    "psnr": "dB, higher is nearer",
    "ssim": "up to 1, higher is nearer",
    "lpips": "lower is nearer",
    "warping_error": "of the generated video, lower is steadier",
    "warping_error_real": "of the real video, to compare",
    "flicker": "of the generated video, lower is steadier",
    "flicker_real": "of the real video, to compare",
    "fid": "published Inception features, lower is nearer",
    "mean_iou": "of what the segmenter finds, up to 1",
}


@dataclass(frozen=True)
class EvaluationReport:
    """settings: what was compared, and how, in words. drift: change of a figure per 100 frames. curves: the mean figure
    at each frame number."""

    settings: Mapping[str, str]
    warnings: Sequence[str]
    mean: _MetricValues
    drift: _MetricValues
    sequences: Mapping[str, _MetricValues]
    curves: Mapping[str, Sequence[float]]


def write_evaluation_report(folder: Path, report: EvaluationReport) -> None:
    """`folder`/evaluation.json, in which what is not finite is null or "inf", and `folder`/index.html."""
    with atomic_write(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(_to_json_value(asdict(report)), indent=1, allow_nan=False))
    layout.write_document(folder / "index.html", _create_page(report))


def format_evaluation_table(report: EvaluationReport) -> str:
    """Format the mean metrics and the warnings for the terminal."""
    rows = [
        (name, _format_value(value), _describe_metric(name)) for name, value in report.mean.items()
    ]
    alignment = ("left", "right", "left")
    table = tabulate(rows, tablefmt="plain", colalign=alignment, disable_numparse=True)
    return "\n".join([table, *(f"warning: {warning}" for warning in report.warnings)])


def _create_page(report: EvaluationReport) -> layout.dominate.document:
    page, body = layout.create_document("Evaluation", f"{len(report.sequences)} sequences", 520)
    body.add(layout.create_section("Compared")).add(
        _create_table(["", ""], report.settings.items())
    )
    for warning in report.warnings:
        body.add(tags.p(warning, cls="warning"))
    rows = [
        (
            name,
            _format_value(value),
            _format_value(report.drift.get(name, math.nan)),
            _describe_metric(name),
        )
        for name, value in report.mean.items()
    ]
    body.add(layout.create_section("Figures", "means over all frames")).add(
        _create_table(["", "mean", "per 100 frames", ""], rows)
    )
    charts = body.add(layout.create_section("Over the frame number", "a slope is drift")).add(
        tags.div(cls="row")
    )
    for name, curve in report.curves.items():
        charts.add(raw(render_line_chart(name, "frame", {name: (range(len(curve)), curve)})))
    names = list(dict.fromkeys(name for figures in report.sequences.values() for name in figures))
    body.add(layout.create_section("Sequences")).add(
        _create_table(
            ["", *names],
            (
                (sequence, *(_format_value(figures.get(name, math.nan)) for name in names))
                for sequence, figures in report.sequences.items()
            ),
        )
    )
    return page


def _create_table(header: Sequence[str], rows: Iterable[Iterable[object]]) -> tags.table:
    return tags.table(
        tags.tr(*map(tags.th, header)),
        *(tags.tr(*map(tags.td, row)) for row in rows),
    )


def _describe_metric(name: str) -> str:
    return _METRIC_DESCRIPTIONS.get(
        name, "lower is nearer; comparable within this extractor alone" if "frechet" in name else ""
    )


def _format_value(value: float) -> str:
    return "" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.4g}"


def _to_json_value(value: object) -> object:
    """JSON knows no nan and no infinity."""
    if isinstance(value, dict):
        return {key: _to_json_value(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json_value(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value
