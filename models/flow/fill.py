"""Filling a flow cache before training: for networks that the loader's workers cannot run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from models.flow.cache import FlowCache, ReadPicture
from models.flow.reference import ReferenceFlow

FilePair = tuple[Path, Path]  # current, previous


def file_pairs(sequences: Iterable[Sequence[Path]], distances: Iterable[int]) -> list[FilePair]:
    """The pictures of each sequence with those that lie `distances` frames before them."""
    apart = sorted(set(distances))
    return [(files[n], files[n - distance]) for files in sequences for distance in apart
            for n in range(distance, len(files))]


def fill(cache: FlowCache, pairs: Sequence[FilePair], reference: ReferenceFlow, read: ReadPicture,
         device: torch.device) -> None:
    """Estimates on `device` what the cache lacks, with a progress bar. Cut off, it goes on where it was."""
    for current, previous in tqdm(pairs, desc=f"flow of {reference.name}", unit="pair", dynamic_ncols=True):
        cache.find_or_estimate(current, previous, reference, lambda path: read(path).to(device))
