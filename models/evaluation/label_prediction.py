"""Metrics of predicted label maps, and of the baseline that repeats the last given one."""

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
    """Confusion matrices of predictions 1 to `horizon` frames ahead.

    Attributes:
        predicted_counts: (horizon, N, N): entry [h, i, j] counts pixels of real label i that are predicted as j,
            h + 1 frames ahead.
        repeated_counts: The same for the baseline, the last given label map.
    """

    predicted_counts: ConfusionCounts
    repeated_counts: ConfusionCounts

    def compute_metrics(self, offsets: slice = slice(None)) -> dict[str, float]:
        """Return mean IoU over the labels that occur, and pixel accuracy, both 0..1; higher is better.

        The baseline's values have the suffix `_repeated`.

        Args:
            offsets: Which frames to pool, by h: 0 is the next frame.
        """
        values = {}
        for suffix, counts_by_offset in (
            ("", self.predicted_counts),
            ("_repeated", self.repeated_counts),
        ):
            counts = counts_by_offset[offsets].sum(0)
            values[f"mean_iou{suffix}"] = mean_iou(counts)
            values[f"accuracy{suffix}"] = float(np.diag(counts).sum() / counts.sum())
        return values


def evaluate_forecast(
    predictor: LabelPredictor,
    sequences: Iterable[Iterable[Clip]],
    horizon: int,
    device: torch.device,
) -> ForecastScores:
    """Predict the label maps of every segment of the sequences and count the errors.

    A segment is `n_history` given maps and up to `horizon` predicted ones. Segments do not overlap.

    Args:
        predictor: The network.
        sequences: The clips (B = T = 1) of each sequence. A shorter last segment counts with the frames that it has.
        horizon: Largest number of frames to predict.
        device: Where the network runs.
    """
    config = predictor.config
    shape = (horizon, config.label_nc, config.label_nc)
    predicted_counts, repeated_counts = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for clips in sequences:
        for history, targets in _split_segments(clips, config.n_history, horizon):
            predictions = forecast_labels(predictor, [clip.to(device) for clip in history])
            last = _to_label_id_array(history[-1].condition)
            for offset, target in enumerate(targets):
                real = _to_label_id_array(target.condition)
                predicted = _to_label_id_array(next(predictions))
                predicted_counts[offset] += confusion_matrix(real, predicted, config.label_nc)
                repeated_counts[offset] += confusion_matrix(real, last, config.label_nc)
    return ForecastScores(predicted_counts, repeated_counts)


def _split_segments(
    clips: Iterable[Clip], n_history: int, horizon: int
) -> Iterator[tuple[Sequence[Clip], Sequence[Clip]]]:
    """Yield (history, targets) of consecutive segments."""
    remaining = iter(clips)
    while True:
        segment = list(islice(remaining, n_history + horizon))
        if len(segment) <= n_history:
            return
        yield segment[:n_history], segment[n_history:]


def _to_label_id_array(maps: torch.Tensor) -> NDArray[np.integer]:
    """(1, 1, 1, H, W) -> (H, W)."""
    return np.asarray(maps[0, 0, 0].cpu())
