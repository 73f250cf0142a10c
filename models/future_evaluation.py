"""How good predicted label maps are, beside repeating the last known one: what any predictor has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from models.future_labels import LabelPredictor, foresee
from util.clip import Clip
from util.metrics import confusion, mean_iou

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Foresight:
    """predicted, repeated: (horizon, N, N) pixels of real label i taken for j, so many frames ahead."""

    predicted: Counts
    repeated: Counts

    def figures(self, ahead: slice = slice(None)) -> dict[str, float]:
        """Mean IoU over the labels that occur, and the share of pixels that are right; 0..1. ahead: which frames, from
        0 for the next one."""
        found = {}
        for suffix, counts in (("", self.predicted[ahead].sum(0)), ("_repeated", self.repeated[ahead].sum(0))):
            found[f"mean_iou{suffix}"] = mean_iou(counts)
            found[f"accuracy{suffix}"] = float(np.diag(counts).sum() / counts.sum())
        return found


def measure_foresight(predictor: LabelPredictor, sequences: Iterable[Iterable[Clip]], horizon: int,
                      device: torch.device) -> Foresight:
    """Pieces of n_past given and up to `horizon` predicted maps, one after another without overlap.

    sequences: their clips (B = T = 1). A piece's end that is shorter counts for the frames that it has."""
    config = predictor.config
    totals = np.zeros((2, horizon, config.label_nc, config.label_nc), np.int64)
    for clips in sequences:
        for given, real in _pieces(clips, config.n_past, horizon):
            predictions = foresee(predictor, [clip.to(device) for clip in given])
            last = _ids(given[-1].condition)
            for ahead, clip in enumerate(real):
                for total, fake in zip(totals, (_ids(next(predictions)), last), strict=True):
                    total[ahead] += confusion(_ids(clip.condition), fake, config.label_nc)
    return Foresight(*totals)


def _pieces(clips: Iterable[Clip], n_past: int, horizon: int) -> Iterator[tuple[Sequence[Clip], Sequence[Clip]]]:
    remaining = iter(clips)
    while len(piece := list(islice(remaining, n_past + horizon))) > n_past:
        yield piece[:n_past], piece[n_past:]


def _ids(maps: torch.Tensor) -> NDArray[np.integer]:
    """(1, 1, 1, H, W) -> (H, W)."""
    return np.asarray(maps[0, 0, 0].cpu())
