"""How good generated videos are beside the real ones: frame by frame, in constant memory. Composes models.evaluation.metrics."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from models.evaluation import metrics
from models.evaluation.frechet import FeatureExtractor
from models.flow import FlowEstimator
from models.flow.warp import warp
from models.inference.synthesizer import Synthesizer
from util.clip import Clip
from util.images.visualization import tensor_to_image
from util.pages.evaluation import EvaluationReport

ImagePair = tuple[np.ndarray, np.ndarray]  # real, generated: (H, W, 3) uint8
MetricValues = dict[str, float]
Metric = Callable[
    [Sequence[ImagePair]], MetricValues
]  # of the newest of up to LATEST pairs, the oldest first
_MAX_METRIC_PAIRS = 3
_MIN_FRECHET_SAMPLES = (
    2048  # samples below which a Fréchet distance says little: published ones use thousands
)
_CONSISTENCY_TOLERANCE = (
    0.01,
    0.5,
)  # share of the squared lengths, and pixels², that there and back may miss (Sundaram, 2010)


@dataclass(frozen=True)
class SequenceScores:
    """frames: what was measured of each frame (some figures need frames before it). features: by their name the (N, D)
    vectors of real and generated clips."""

    name: str
    frame_metrics: tuple[MetricValues, ...]
    features: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def get_curve(self, metric: str) -> list[float]:
        """A number for each frame; nan where it has none."""
        return [frame.get(metric, float("nan")) for frame in self.frame_metrics]


def score_sequence(
    name: str,
    pairs: Iterable[ImagePair],
    metric_functions: Sequence[Metric],
    extractors: Sequence[FeatureExtractor] = (),
) -> SequenceScores:
    latest: deque[ImagePair] = deque(maxlen=_MAX_METRIC_PAIRS)
    collectors = [_FeatureCollector(kind) for kind in extractors]
    frames = []
    for pair in pairs:
        latest.append(pair)
        frames.append(
            {
                name: value
                for measure in metric_functions
                for name, value in measure(list(latest)).items()
            }
        )
        for collector in collectors:
            collector.add(pair)
    return SequenceScores(
        name, tuple(frames), {c.extractor.name: c.get_features() for c in collectors}
    )


def evaluate_synthesis(
    synthesizer: Synthesizer,
    sequences: Sequence[tuple[str, Iterable[Clip]]],
    metric_functions: Sequence[Metric],
    max_frames: int,
) -> MetricValues:
    """Mean figures of the networks as they stand, through the very synthesis of test.py.

    sequences: clips (B = T = 1) with their real images, by name. frames: made of each, at most."""

    def pairs(clips: Iterable[Clip]) -> Iterator[ImagePair]:
        for clip, image in islice(synthesizer.synthesize(clips), max_frames):
            assert clip.image is not None
            yield tensor_to_image(clip.image[0, 0]), tensor_to_image(image[0])

    return average_metrics(
        [score_sequence(name, pairs(clips), metric_functions) for name, clips in sequences]
    )


def compute_fidelity_metrics(latest_pairs: Sequence[ImagePair]) -> MetricValues:
    """PSNR and SSIM of the newest pair."""
    return {"psnr": metrics.psnr(*latest_pairs[-1]), "ssim": metrics.ssim(*latest_pairs[-1])}


def compute_flicker(latest_pairs: Sequence[ImagePair]) -> MetricValues:
    """Of the generated video and, to hold it against, of the real one; from the third frame on."""
    if len(latest_pairs) < 3:
        return {}
    real, fake = zip(*latest_pairs, strict=True)
    return {"flicker": metrics.flicker(*fake), "flicker_real": metrics.flicker(*real)}


@dataclass(frozen=True)
class WarpingError:
    """Warping error of the generated video along the real one's motion, where that is visible in both frames; and of
    the real video itself, which no flow explains wholly."""

    flow_estimator: FlowEstimator
    device: torch.device

    @torch.no_grad()
    def __call__(self, latest_pairs: Sequence[ImagePair]) -> MetricValues:
        if len(latest_pairs) < 2:
            return {}
        (real_before, fake_before), (real, fake) = latest_pairs[-2:]
        before, now = array_to_tensor(real_before, self.device), array_to_tensor(real, self.device)
        there, back = (
            self.flow_estimator.estimate(now, before),
            self.flow_estimator.estimate(before, now),
        )
        visible = compute_forward_backward_mask(there, back)[0, 0].cpu().numpy()
        return {
            "warping_error": metrics.warping_error(
                fake, self._warp_image(fake_before, there), visible
            ),
            "warping_error_real": metrics.warping_error(
                real, self._warp_image(real_before, there), visible
            ),
        }

    def _warp_image(self, image: np.ndarray, flow: Tensor) -> np.ndarray:
        image_before = array_to_tensor(image, self.device).double()
        return tensor_to_array(warp(image_before, flow.double()))


@dataclass(frozen=True)
class SegmentationIoU:
    """Whether a segmentation network finds in the generated frame what it finds in the real one: a frame's mean IoU.

    segment: (H, W, 3) uint8 -> (h, w) label ids."""

    segment: Callable[[np.ndarray], np.ndarray]

    def __call__(self, latest_pairs: Sequence[ImagePair]) -> MetricValues:
        real, fake = (self.segment(image) for image in latest_pairs[-1])
        return {
            "mean_iou": metrics.mean_iou(
                metrics.confusion_matrix(real, fake, int(max(real.max(), fake.max())) + 1)
            )
        }


def build_standard_metrics(flow_estimator: FlowEstimator, device: torch.device) -> list[Metric]:
    """All that need no weights of their own; without a flow there is no warping error."""
    return [
        compute_fidelity_metrics,
        compute_flicker,
        *([] if flow_estimator.name == "none" else [WarpingError(flow_estimator, device)]),
    ]


def compute_forward_backward_mask(forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
    """(N, 1, H, W) bool: where following a flow (N, 2, H, W) there and back ends where it began."""
    missed = (
        (forward_flow + (returned := warp(backward_flow, forward_flow)))
        .square()
        .sum(1, keepdim=True)
    )
    share, pixels = _CONSISTENCY_TOLERANCE
    lengths = forward_flow.square().sum(1, keepdim=True) + returned.square().sum(1, keepdim=True)
    return missed < share * lengths + pixels


def average_metrics(sequences: Sequence[SequenceScores]) -> MetricValues:
    """Every figure's mean over all frames that have it; an infinite PSNR (equal images) makes it infinite."""
    names = dict.fromkeys(
        name for sequence in sequences for frame in sequence.frame_metrics for name in frame
    )
    found = {
        name: np.array([value for sequence in sequences for value in sequence.get_curve(name)])
        for name in names
    }
    return {
        name: float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else float("nan")
        for name, values in found.items()
    }


def compute_frechet_distances(
    sequences: Sequence[SequenceScores],
) -> tuple[MetricValues, dict[str, int]]:
    """By the features' name the distance over all sequences, where there are clips enough for one; and their counts."""
    names = sequences[0].features if sequences else {}
    pooled = {
        name: [
            np.concatenate([sequence.features[name][side] for sequence in sequences])
            for side in (0, 1)
        ]
        for name in names
    }
    return (
        {
            name: metrics.frechet_distance(*sides)
            for name, sides in pooled.items()
            if len(sides[0]) > 1
        },
        {name: len(sides[0]) for name, sides in pooled.items()},
    )


def build_evaluation_report(
    sequences: Sequence[SequenceScores], settings: dict[str, str]
) -> EvaluationReport:
    """All that is reported of an evaluation. settings: what was compared, in words."""
    distances, counts = compute_frechet_distances(sequences)
    frames = sum(len(sequence.frame_metrics) for sequence in sequences)
    curves = {
        name: metrics.mean_curve([sequence.get_curve(name) for sequence in sequences]).tolist()
        for name in average_metrics(sequences)
    }
    return EvaluationReport(
        settings=settings | {"sequences": str(len(sequences)), "frames": str(frames)},
        warnings=[
            f"{name}: {counts[name]} samples, fewer than {_MIN_FRECHET_SAMPLES}: the distance is biased upward, compare only "
            "with one of as many"
            for name in counts
            if counts[name] < _MIN_FRECHET_SAMPLES
        ],
        mean=average_metrics(sequences) | distances,
        drift={name: metrics.drift(curve) for name, curve in curves.items()},
        sequences={sequence.name: average_metrics([sequence]) for sequence in sequences},
        curves=curves,
    )


def array_to_tensor(image: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).to(device)[None].float() / 127.5 - 1


def tensor_to_array(image: Tensor) -> np.ndarray:
    """The way back: (1, 3, H, W) in [-1, 1] -> (H, W, 3) in 0..255, to a thousandth of a level: what rounding
    leaves beyond that would keep a still video's error from being 0."""
    return ((image[0] + 1) * 127.5).permute(1, 2, 0).cpu().numpy().round(3)


class _FeatureCollector:
    """Vectors of consecutive clips, without overlap; what is left of a sequence is dropped."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        self.extractor = extractor
        self._clip: list[ImagePair] = []
        self._features: tuple[list[np.ndarray], list[np.ndarray]] = [], []

    def add(self, pair: ImagePair) -> None:
        self._clip.append(pair)
        if len(self._clip) < self.extractor.n_frames:
            return
        for side, found in enumerate(self._features):
            clip = torch.cat(
                [array_to_tensor(frames[side], torch.device("cpu")) for frames in self._clip]
            )
            found.append(self.extractor(clip).cpu().numpy())
        self._clip.clear()

    def get_features(self) -> tuple[np.ndarray, np.ndarray]:
        real, fake = (np.array(found) for found in self._features)
        return real, fake
