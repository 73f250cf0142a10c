"""Filling a flow cache before training: for networks that the loader's workers cannot run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from models.flow.cache import FlowCache, ReadImage
from models.flow.estimator import FlowEstimator

FilePair = tuple[Path, Path]  # current, previous


def list_file_pairs(sequences: Iterable[Sequence[Path]], strides: Iterable[int]) -> list[FilePair]:
    """The images of each sequence with those that lie `distances` frames before them."""
    apart = sorted(set(strides))
    return [
        (files[n], files[n - distance])
        for files in sequences
        for distance in apart
        for n in range(distance, len(files))
    ]


def precompute_flow(
    cache: FlowCache,
    pairs: Sequence[FilePair],
    flow_estimator: FlowEstimator,
    read_image: ReadImage,
    device: torch.device,
) -> None:
    """Estimates on `device` what the cache lacks, with a progress bar. Cut off, it goes on where it was."""
    for current, previous in tqdm(
        pairs, desc=f"flow of {flow_estimator.name}", unit="pair", dynamic_ncols=True
    ):
        cache.load_or_estimate(
            current, previous, flow_estimator, lambda path: read_image(path).to(device)
        )
