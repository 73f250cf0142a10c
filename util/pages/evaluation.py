"""The evaluation report: JSON file, table for the terminal, and HTML page with curves."""

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
_PAGE_IMAGE_WIDTH = 520  # pixels
_METRIC_DESCRIPTIONS = {
    "psnr": "dB, higher is better",
    "ssim": "at most 1, higher is better",
    "lpips": "lower is better",
    "warping_error": "of the generated video, lower is more stable",
    "warping_error_real": "of the real video, for comparison",
    "flicker": "of the generated video, lower is more stable",
    "flicker_real": "of the real video, for comparison",
    "fid": "published Inception features, lower is better",
    "mean_iou": "of the segmented generated images, at most 1",
}
_FRECHET_DESCRIPTION = "lower is better; compare only with the same feature extractor"


@dataclass(frozen=True)
class EvaluationReport:
    """Result of an evaluation.

    Attributes:
        settings: What was compared and how, name -> description.
        warnings: Messages about doubtful results.
        mean: Metric -> mean over all frames.
        drift: Metric -> change per 100 frames.
        sequences: Sequence -> metric -> mean over its frames.
        curves: Metric -> mean over sequences at each frame number.
    """

    settings: Mapping[str, str]
    warnings: Sequence[str]
    mean: _MetricValues
    drift: _MetricValues
    sequences: Mapping[str, _MetricValues]
    curves: Mapping[str, Sequence[float]]


def write_evaluation_report(folder: Path, report: EvaluationReport) -> None:
    """Write `folder`/evaluation.json and the page `folder`/index.html.

    JSON has no non-finite numbers: NaN becomes null and infinities become "inf".
    """
    content = _to_json_value(asdict(report))
    with atomic_write(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False))
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
    document, body = layout.create_document(
        "Evaluation", f"{len(report.sequences)} sequences", _PAGE_IMAGE_WIDTH
    )
    section = body.add(layout.create_section("Compared"))
    section.add(_create_table(["", ""], report.settings.items()))
    for warning in report.warnings:
        body.add(tags.p(warning, cls="warning"))
    section = body.add(layout.create_section("Metrics", "means over all frames"))
    section.add(_create_mean_table(report))
    section = body.add(layout.create_section("By frame number", "a slope is drift"))
    charts = section.add(tags.div(cls="row"))
    for name, curve in report.curves.items():
        charts.add(raw(render_line_chart(name, "frame", {name: (range(len(curve)), curve)})))
    section = body.add(layout.create_section("Sequences"))
    section.add(_create_sequence_table(report))
    return document


def _create_mean_table(report: EvaluationReport) -> tags.table:
    rows = [
        (
            name,
            _format_value(value),
            _format_value(report.drift.get(name, math.nan)),
            _describe_metric(name),
        )
        for name, value in report.mean.items()
    ]
    return _create_table(["", "mean", "per 100 frames", ""], rows)


def _create_sequence_table(report: EvaluationReport) -> tags.table:
    """Return a table with a row per sequence and a column per metric that any of them has."""
    names = list(dict.fromkeys(name for values in report.sequences.values() for name in values))
    rows = []
    for sequence, values in report.sequences.items():
        rows.append([sequence, *(_format_value(values.get(name, math.nan)) for name in names)])
    return _create_table(["", *names], rows)


def _create_table(header: Sequence[str], rows: Iterable[Iterable[object]]) -> tags.table:
    return tags.table(
        tags.tr(*map(tags.th, header)),
        *(tags.tr(*map(tags.td, row)) for row in rows),
    )


def _describe_metric(name: str) -> str:
    default = _FRECHET_DESCRIPTION if "frechet" in name else ""
    return _METRIC_DESCRIPTIONS.get(name, default)


def _format_value(value: float) -> str:
    if math.isnan(value):
        return ""
    return "∞" if math.isinf(value) else f"{value:.4g}"


def _to_json_value(value: object) -> object:
    """Replace NaN by None and infinities by "inf" in nested dicts and lists."""
    if isinstance(value, dict):
        return {key: _to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value
