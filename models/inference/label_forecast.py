"""Prediction of the label maps that follow a sequence, as input of the video generators (`--future_labels`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from models.networks.input_encoding import one_hot, pad_clip
from models.networks.label_predictor import LabelPredictor, append_to_history
from util.clip import Clip
from util.errors import UserError


@torch.no_grad()
def forecast_labels(predictor: LabelPredictor, history_clips: Sequence[Clip]) -> Iterator[Tensor]:
    """Yield the predicted label maps (B, 1, 1, H, W), uint8 ids, one after another without end.

    The predictor continues from its own probabilities instead of the most likely labels, as in training.

    Args:
        predictor: the trained network.
        history_clips: the last n_history clips (T = 1 each), on the predictor's device.
    """
    config = predictor.config
    assert len(history_clips) == config.n_history
    height, width = history_clips[0].condition.shape[-2:]
    padded = [pad_clip(clip, config.size_multiple) for clip in history_clips]
    history = torch.cat([one_hot(clip.condition, config.label_nc) for clip in padded], dim=1)
    while True:
        history = append_to_history(history, predictor(history).image)
        yield history[:, -1:, :, :height, :width].argmax(dim=2, keepdim=True).byte()


@dataclass(frozen=True)
class LabelForecaster:
    """Turns the beginning of a sequence into input for the video generators, by predicting labels.

    Attributes:
        predictor: the trained network.
        n_history: frames before the first that the video generators generate (n_frames_G - 1).
        device: the predictor's device.
        n_forecast_frames: frames to predict per sequence. None: as many as the sequence has, together
            with their real images, for comparison.
    """

    predictor: LabelPredictor
    n_history: int
    device: torch.device
    n_forecast_frames: int | None = None

    @property
    def n_required_frames(self) -> int:
        """Number of input frames that a forecast starts from."""
        return max(self.n_history, self.predictor.config.n_history)

    def count_clips(self, available: int, name: str) -> int:
        """Return how many clips `forecast_clips` yields for a sequence.

        Args:
            available: frames of the sequence.
            name: of the sequence, for messages.

        Raises:
            UserError: the sequence is too short.
        """
        goes_beyond = self.n_forecast_frames is not None
        required = self.n_required_frames if goes_beyond else self.n_required_frames + 1
        if available < required:
            raise UserError(
                f"sequence {name} has {available} frames, expected at least {required}: --future_labels starts "
                f"from {self.n_required_frames} frames and predicts the next ones; add frames, or predict "
                "beyond the end with --future_frames N"
            )
        if self.n_forecast_frames is not None:
            return self.n_history + self.n_forecast_frames
        return self.n_history + available - self.n_required_frames

    def forecast_clips(self, sequence: Iterable[Clip]) -> Iterator[Clip]:
        """Yield the last n_history input frames, then frames with predicted labels (B = T = 1).

        Instances are not predicted: the labels serve as instance ids, so that there is an edge wherever
        the label changes.
        """
        frames = iter(sequence)
        inputs = list(islice(frames, self.n_required_frames))
        yield from inputs[self.n_required_frames - self.n_history :]
        history = inputs[-self.predictor.config.n_history :]
        predictions = forecast_labels(self.predictor, [clip.to(self.device) for clip in history])
        if self.n_forecast_frames is None:
            targets: Iterable[Clip] = frames
        else:
            targets = _make_future_clips(inputs[-1], self.n_forecast_frames)
        for clip, labels in zip(targets, predictions, strict=False):
            ids = labels.to(clip.condition.device)
            instance = None if clip.instance is None else ids.int()
            yield replace(clip, condition=ids, instance=instance)


def _make_future_clips(last: Clip, n_frames: int) -> Iterator[Clip]:
    """Yield copies of the last clip without an image, named by the number of the predicted frame."""
    for n in range(1, n_frames + 1):
        yield replace(last, image=None, names=((f"future/future_{n:06}",),))
