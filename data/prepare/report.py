"""Report on a prepared data set: an HTML page and a text summary."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from data.prepare.extractors.base import ConditionExtractor
from data.prepare.split import Segment
from data.prepare.video import PrepareResult
from util.pages.results import ResultSequence, ResultStream, write_results_page

_IMAGE_WIDTH = 400  # on the page, in pixels


def write_prepare_report(
    root: Path, results: Sequence[PrepareResult], extractor: ConditionExtractor
) -> str:
    """Write `{root}/index.html` and return a text summary of what was written and left out."""
    lines = [line for result in results for line in _summarize_result(result)]
    sequences = [
        _build_result_sequence(root, result, segment, extractor)
        for result in results
        for segment in result.segments
        if segment.phase
    ]
    train_line = f"Train: {format_train_command(root, extractor)}"
    write_results_page(root, sequences, root.name, _IMAGE_WIDTH, [*lines, train_line])
    return "\n".join(lines)


def format_train_command(root: Path, extractor: ConditionExtractor) -> str:
    """Return the command that trains on the data set, without resizing and without a first-frame network."""
    return (
        f"python train.py --name {shlex.quote(root.name)} --dataroot {shlex.quote(str(root))} "
        f"{extractor.format_train_flags()} --resize_or_crop none --no_first_img --clips_per_epoch 100"
    )


def _build_result_sequence(
    root: Path, result: PrepareResult, segment: Segment, extractor: ConditionExtractor
) -> ResultSequence:
    streams = []
    for title, stream, suffix in _list_image_streams(extractor):
        folder = root / f"{segment.phase}_{stream}" / segment.name
        streams.append(ResultStream(title, sorted(folder.glob(f"*{suffix}"))))
    return ResultSequence(
        f"{segment.phase}: {segment.name}",
        streams,
        f"frames {segment.start} to {segment.stop - 1} of {result.video}",
    )


def _list_image_streams(extractor: ConditionExtractor) -> list[tuple[str, str, str]]:
    """Return (title, stream, file suffix) of the streams that the page shows: at most one is a condition."""
    conditions = [
        ("condition", stream, suffix)
        for stream, suffix in extractor.suffixes.items()
        if suffix == ".png"
    ]
    return [*conditions[:1], ("real", extractor.image_folder, ".jpg")]


def _summarize_result(result: PrepareResult) -> list[str]:
    counts = []
    for phase in ("train", "test"):
        lengths = [len(segment) for segment in result.segments if segment.phase == phase]
        counts.append(f"{sum(lengths)} frames in {len(lengths)} sequences for {phase}")
    lines = [", ".join(counts), *result.notes]
    for segment in result.segments:
        if not segment.phase:
            lines.append(f"frames {segment.start} to {segment.stop - 1} left out: {segment.reason}")
    return [f"{result.video}: {line}" for line in lines]
