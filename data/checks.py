"""Faults in the files themselves, found before training and not hours into it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from itertools import takewhile
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from data.domain import PICTURES, Domain
from data.pictures import check_same_size, picture_size
from data.sequences import Sequence

Item = TypeVar("Item")

SECONDS = 20.0  # of reading files through; at 30 ms a frame all of a small data set, a sample of a large one


def check_frames(domain: Domain, sequences: Collection[Sequence], seconds: float = SECONDS) -> str:
    """Every picture's header, then whole frames for about `seconds`; what was checked, in a sentence.

    The frames read through are the first of every sequence, then others from all over the data. UserError names the
    first file that cannot be read, is of another size than its frame's others or holds what the domain does not take.
    """
    frames = [sequence.paths(frame) for sequence in sequences for frame in range(len(sequence))]
    for paths in _shown(frames, "headers"):
        check_same_size({path: picture_size(path) for path in paths.values() if path.suffix.lower() in PICTURES})
    end = time.monotonic() + seconds
    order = _shown(_spread([len(sequence) for sequence in sequences]), "frames", len(frames))
    read = 0
    for frame in takewhile(lambda _: time.monotonic() < end, order):
        domain.check(frames[frame])
        read += 1
    if read == len(frames):
        return f"data: all {read} frames of {len(sequences)} sequences were read through"
    return (f"data: {len(frames)} frames of {len(sequences)} sequences have sound headers, {read} of them were read "
            f"through in {seconds:g} s, the others will be when their turn comes")


def _spread(lengths: list[int]) -> Iterator[int]:
    """The numbers of all frames, counted through all sequences: the first of each sequence, then the rest shuffled."""
    first = np.cumsum([0, *lengths[:-1]])
    yield from first.tolist()
    yield from np.setdiff1d(np.random.default_rng(0).permutation(sum(lengths)), first, assume_unique=True).tolist()


def _shown(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """With a progress bar, if it takes more than a moment."""
    return iter(tqdm(items, f"checking {what}", total, unit="frame", delay=2, leave=False, dynamic_ncols=True))
