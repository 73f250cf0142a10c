"""Faults in the files themselves, found before training and not hours into it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from itertools import takewhile
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from data.frame_reader import IMAGE_SUFFIXES, FrameReader
from data.image_io import check_same_size, read_image_size
from data.sequences import FrameSequence

_Item = TypeVar("_Item")

MAX_CHECK_SECONDS = 20.0  # of reading files through; at 30 ms a frame all of a small data set, a sample of a large one


def run_quick_check(
    frame_reader: FrameReader,
    sequences: Collection[FrameSequence],
    seconds: float = MAX_CHECK_SECONDS,
) -> str:
    """Every image's header, then whole frames for about `seconds`; what was checked, in a sentence.

    The frames read through are the first of every sequence, then others from all over the data. UserError names the
    first file that cannot be read, is of another size than its frame's others or holds what the domain does not take.
    """
    frames = [sequence.paths(frame) for sequence in sequences for frame in range(len(sequence))]
    for paths in _with_progress(frames, "headers"):
        check_same_size(
            {
                path: read_image_size(path)
                for path in paths.values()
                if path.suffix.lower() in IMAGE_SUFFIXES
            }
        )
    end = time.monotonic() + seconds
    order = _with_progress(
        _spread_frame_indices([len(sequence) for sequence in sequences]), "frames", len(frames)
    )
    read = 0
    for frame in takewhile(lambda _: time.monotonic() < end, order):
        frame_reader.validate_files(frames[frame])
        read += 1
    if read == len(frames):
        return f"data: all {read} frames of {len(sequences)} sequences were read through"
    return (
        f"data: {len(frames)} frames of {len(sequences)} sequences have sound headers, {read} of them were read "
        f"through in {seconds:g} s, the others will be when their turn comes"
    )


def _spread_frame_indices(lengths: list[int]) -> Iterator[int]:
    """The numbers of all frames, counted through all sequences: the first of each sequence, then the rest shuffled."""
    first = np.cumsum([0, *lengths[:-1]])
    yield from first.tolist()
    yield from np.setdiff1d(
        np.random.default_rng(0).permutation(sum(lengths)), first, assume_unique=True
    ).tolist()


def _with_progress(items: Iterable[_Item], noun: str, total: int | None = None) -> Iterator[_Item]:
    """With a progress bar, if it takes more than a moment."""
    return iter(
        tqdm(
            items, f"checking {noun}", total, unit="frame", delay=2, leave=False, dynamic_ncols=True
        )
    )
