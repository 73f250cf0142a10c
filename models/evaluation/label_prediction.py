"""How good predicted label maps are, beside repeating the last known one: what any predictor has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from models.evaluation.metrics import confusion_matrix, mean_iou
from models.inference.label_forecast import forecast_labels
from models.networks.label_predictor import LabelPredictor
from util.clip import Clip

ConfusionCounts = NDArray[np.int64]


@dataclass(frozen=True)
class ForecastScores:
    """predicted, repeated: (horizon, N, N) pixels of real label i taken for j, so many frames ahead."""

    predicted_counts: ConfusionCounts
    repeated_counts: ConfusionCounts

    def compute_metrics(self, offsets: slice = slice(None)) -> dict[str, float]:
        """Mean IoU over the labels that occur, and the share of pixels that are right; 0..1. ahead: which frames, from
        0 for the next one."""
        found = {}
        for suffix, counts in (
            ("", self.predicted_counts[offsets].sum(0)),
            ("_repeated", self.repeated_counts[offsets].sum(0)),
        ):
            found[f"mean_iou{suffix}"] = mean_iou(counts)
            found[f"accuracy{suffix}"] = float(np.diag(counts).sum() / counts.sum())
        return found


def evaluate_forecast(
    predictor: LabelPredictor,
    sequences: Iterable[Iterable[Clip]],
    horizon: int,
    device: torch.device,
) -> ForecastScores:
    """Pieces of n_past given and up to `horizon` predicted maps, one after another without overlap.

    sequences: their clips (B = T = 1). A piece's end that is shorter counts for the frames that it has."""
    config = predictor.config
    totals = np.zeros((2, horizon, config.label_nc, config.label_nc), np.int64)
    for clips in sequences:
        for given, real in _split_segments(clips, config.n_history, horizon):
            predictions = forecast_labels(predictor, [clip.to(device) for clip in given])
            last = _to_label_id_array(given[-1].condition)
            for ahead, clip in enumerate(real):
                for total, fake in zip(
                    totals, (_to_label_id_array(next(predictions)), last), strict=True
                ):
                    total[ahead] += confusion_matrix(
                        _to_label_id_array(clip.condition), fake, config.label_nc
                    )
    return ForecastScores(*totals)


def _split_segments(
    clips: Iterable[Clip], n_history: int, horizon: int
) -> Iterator[tuple[Sequence[Clip], Sequence[Clip]]]:
    remaining = iter(clips)
    while len(piece := list(islice(remaining, n_history + horizon))) > n_history:
        yield piece[:n_history], piece[n_history:]


def _to_label_id_array(maps: torch.Tensor) -> NDArray[np.integer]:
    """(1, 1, 1, H, W) -> (H, W)."""
    return np.asarray(maps[0, 0, 0].cpu())
