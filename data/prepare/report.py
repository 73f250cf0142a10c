"""What was made and what was dropped: a page, and the same in a few lines."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from data.prepare.extractors.edges import ConditionExtractor
from data.prepare.video import PrepareResult
from util.pages.results import ResultSequence, ResultStream, write_results_page

_IMAGE_WIDTH = 400  # of an image on the page


def write_prepare_report(
    root: Path, results: Sequence[PrepareResult], extractor: ConditionExtractor
) -> str:
    """`root`/index.html over the data set; returns what was made and dropped, in lines."""
    lines = [line for video in results for line in _summarize_result(video)]
    sequences = [
        ResultSequence(
            f"{piece.phase}: {piece.name}",
            [
                ResultStream(
                    title, sorted((root / f"{piece.phase}_{name}" / piece.name).glob(f"*{suffix}"))
                )
                for title, name, suffix in _list_image_streams(extractor)
            ],
            f"frames {piece.start} to {piece.stop - 1} of {video.video}",
        )
        for video in results
        for piece in video.segments
        if piece.phase
    ]
    write_results_page(
        root,
        sequences,
        root.name,
        _IMAGE_WIDTH,
        [*lines, f"Train: {format_train_command(root, extractor)}"],
    )
    return "\n".join(lines)


def format_train_command(root: Path, extractor: ConditionExtractor) -> str:
    """What trains on it: the images as they are, and a network that needs no first image."""
    return (
        f"python train.py --name {shlex.quote(root.name)} --dataroot {shlex.quote(str(root))} {extractor.format_train_flags()} "
        "--resize_or_crop none --no_first_img --clips_per_epoch 100"
    )


def _list_image_streams(extractor: ConditionExtractor) -> list[tuple[str, str, str]]:
    """Title, folder and suffix of the streams that are images."""
    conditions = [
        ("condition", name, suffix)
        for name, suffix in extractor.suffixes.items()
        if suffix == ".png"
    ]
    return [*conditions[:1], ("real", extractor.image_folder, ".jpg")]


def _summarize_result(result: PrepareResult) -> list[str]:
    made = {
        phase: [piece for piece in result.segments if piece.phase == phase]
        for phase in ("train", "test")
    }
    count = ", ".join(
        f"{sum(map(len, pieces))} frames in {len(pieces)} sequences for {phase}"
        for phase, pieces in made.items()
    )
    dropped = [
        f"{result.video}: frames {piece.start} to {piece.stop - 1} left out: {piece.reason}"
        for piece in result.segments
        if not piece.phase
    ]
    return [
        f"{result.video}: {count}",
        *(f"{result.video}: {note}" for note in result.notes),
        *dropped,
    ]
