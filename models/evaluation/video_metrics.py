"""Evaluation of generated videos frame by frame, in constant memory, and the report of its results.

The formulas are in `models/evaluation/metrics.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from models.evaluation import metrics
from models.evaluation.feature_extractors import FeatureExtractor
from models.flow import FlowEstimator
from models.flow.warp import warp
from models.inference.synthesizer import Synthesizer
from util.clip import Clip
from util.images.pairs import RealFakePair
from util.images.visualization import tensor_to_image
from util.pages.evaluation import EvaluationReport

MetricValues = dict[str, float]
# Returns a frame's values by name, from its pair and up to two pairs before it; the oldest pair is first.
Metric = Callable[[Sequence[RealFakePair]], MetricValues]
_MAX_METRIC_PAIRS = 3
_MIN_FRECHET_SAMPLES = (
    2048  # published distances use thousands of samples; with fewer, the bias is large
)
# Forward-backward check of Sundaram et al. (ECCV 2010): relative to the squared lengths, and in squared pixels
_CONSISTENCY_TOLERANCE = (0.01, 0.5)


@dataclass(frozen=True)
class SequenceScores:
    """The results for one sequence.

    Attributes:
        name: Name of the sequence.
        frame_metrics: The values of each frame. Metrics of several frames have no value for the first ones.
        features: For each feature extractor, the features (N, D) of real and of fake clips.
    """

    name: str
    frame_metrics: tuple[MetricValues, ...]
    features: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def get_curve(self, metric: str) -> list[float]:
        """Return the metric's value of each frame; nan where it has none."""
        return [values.get(metric, float("nan")) for values in self.frame_metrics]


# Scoring sequences


def score_sequence(
    name: str,
    pairs: Iterable[RealFakePair],
    metric_functions: Sequence[Metric],
    extractors: Sequence[FeatureExtractor] = (),
) -> SequenceScores:
    """Compute all metrics and features of a sequence."""
    latest: deque[RealFakePair] = deque(maxlen=_MAX_METRIC_PAIRS)
    collectors = [_FeatureCollector(extractor) for extractor in extractors]
    frame_metrics = []
    for pair in pairs:
        latest.append(pair)
        values: MetricValues = {}
        for metric in metric_functions:
            values.update(metric(list(latest)))
        frame_metrics.append(values)
        for collector in collectors:
            collector.add(pair)
    features = {collector.extractor.name: collector.get_features() for collector in collectors}
    return SequenceScores(name, tuple(frame_metrics), features)


def evaluate_synthesis(
    synthesizer: Synthesizer,
    sequences: Sequence[tuple[str, Iterable[Clip]]],
    metric_functions: Sequence[Metric],
    max_frames: int,
) -> MetricValues:
    """Generate validation sequences as test.py does, and return the mean metrics.

    Args:
        synthesizer: Generates the frames.
        sequences: Name and clips (B = T = 1, with real images) of each sequence.
        metric_functions: What to compute.
        max_frames: Largest number of frames to generate per sequence.
    """

    def generate_pairs(clips: Iterable[Clip]) -> Iterator[RealFakePair]:
        for clip, image in islice(synthesizer.synthesize(clips), max_frames):
            assert clip.image is not None
            yield tensor_to_image(clip.image[0, 0]), tensor_to_image(image[0])

    return average_metrics(
        [score_sequence(name, generate_pairs(clips), metric_functions) for name, clips in sequences]
    )


class _FeatureCollector:
    """Features of consecutive clips without overlap. An incomplete last clip is ignored."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        self.extractor = extractor
        self._clip: list[RealFakePair] = []
        self._real_features: list[np.ndarray] = []
        self._fake_features: list[np.ndarray] = []

    def add(self, pair: RealFakePair) -> None:
        self._clip.append(pair)
        if len(self._clip) < self.extractor.n_frames:
            return
        self._real_features.append(self._extract([real for real, _ in self._clip]))
        self._fake_features.append(self._extract([fake for _, fake in self._clip]))
        self._clip.clear()

    def _extract(self, images: Sequence[np.ndarray]) -> np.ndarray:
        clip = torch.cat([array_to_tensor(image, torch.device("cpu")) for image in images])
        return self.extractor(clip).cpu().numpy()

    def get_features(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self._real_features), np.array(self._fake_features)


# Metrics


def build_standard_metrics(flow_estimator: FlowEstimator, device: torch.device) -> list[Metric]:
    """Return the metrics that need no other weights. The warping error requires a flow estimator."""
    standard: list[Metric] = [compute_fidelity_metrics, compute_flicker]
    if flow_estimator.name != "none":
        standard.append(WarpingError(flow_estimator, device))
    return standard


def compute_fidelity_metrics(latest_pairs: Sequence[RealFakePair]) -> MetricValues:
    """Return `psnr` and `ssim` of the latest pair."""
    real, fake = latest_pairs[-1]
    return {"psnr": metrics.psnr(real, fake), "ssim": metrics.ssim(real, fake)}


def compute_flicker(latest_pairs: Sequence[RealFakePair]) -> MetricValues:
    """Return `flicker` and, as a baseline, `flicker_real`; nothing before the third frame."""
    if len(latest_pairs) < 3:
        return {}
    real, fake = zip(*latest_pairs, strict=True)
    return {"flicker": metrics.flicker(*fake), "flicker_real": metrics.flicker(*real)}


@dataclass(frozen=True)
class WarpingError:
    """`warping_error` of the generated video and, as a baseline, `warping_error_real`.

    Both use the flow of the real video, and only pixels that are visible in both frames.

    Attributes:
        flow_estimator: Estimates the flow of the real video.
        device: Where the estimator runs.
    """

    flow_estimator: FlowEstimator
    device: torch.device

    @torch.no_grad()
    def __call__(self, latest_pairs: Sequence[RealFakePair]) -> MetricValues:
        """Return both values; nothing before the second frame."""
        if len(latest_pairs) < 2:
            return {}
        (real_prev, fake_prev), (real, fake) = latest_pairs[-2:]
        current = array_to_tensor(real, self.device)
        previous = array_to_tensor(real_prev, self.device)
        flow = self.flow_estimator.estimate(current, previous)
        opposite_flow = self.flow_estimator.estimate(previous, current)
        visible = compute_forward_backward_mask(flow, opposite_flow)[0, 0].cpu().numpy()
        warped_fake, warped_real = (self._warp_image(i, flow) for i in (fake_prev, real_prev))
        return {
            "warping_error": metrics.warping_error(fake, warped_fake, visible),
            "warping_error_real": metrics.warping_error(real, warped_real, visible),
        }

    def _warp_image(self, image: np.ndarray, flow: Tensor) -> np.ndarray:
        return tensor_to_array(warp(array_to_tensor(image, self.device).double(), flow.double()))


@dataclass(frozen=True)
class SegmentationIoU:
    """`mean_iou` between the labels predicted for the real and for the generated frame.

    Attributes:
        segment: Maps (H, W, 3) uint8 to label ids (h, w).
    """

    segment: Callable[[np.ndarray], np.ndarray]

    def __call__(self, latest_pairs: Sequence[RealFakePair]) -> MetricValues:
        """Return `mean_iou` of the latest pair."""
        real, fake = (self.segment(image) for image in latest_pairs[-1])
        label_nc = int(max(real.max(), fake.max())) + 1
        return {"mean_iou": metrics.mean_iou(metrics.confusion_matrix(real, fake, label_nc))}


def compute_forward_backward_mask(forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
    """Return (N, 1, H, W) bool: where following both flows ends near the start.

    `|f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5`, with b read where f points (Sundaram et al., ECCV 2010).

    Args:
        forward_flow: (N, 2, H, W) pixels.
        backward_flow: (N, 2, H, W) pixels, of the opposite direction.
    """
    returning_flow = warp(backward_flow, forward_flow)
    error = (forward_flow + returning_flow).square().sum(1, keepdim=True)
    lengths = forward_flow.square().sum(1, keepdim=True) + returning_flow.square().sum(
        1, keepdim=True
    )
    relative_tolerance, absolute_tolerance = _CONSISTENCY_TOLERANCE
    return error < relative_tolerance * lengths + absolute_tolerance


# Summary over sequences


def average_metrics(sequences: Sequence[SequenceScores]) -> MetricValues:
    """Return each metric's mean over all frames of all sequences that have a value.

    An infinite PSNR (equal images) makes the mean infinite.
    """
    means = {}
    for name in _list_metric_names(sequences):
        values = np.array([value for sequence in sequences for value in sequence.get_curve(name)])
        values = values[~np.isnan(values)]
        means[name] = float(values.mean()) if len(values) else float("nan")
    return means


def _list_metric_names(sequences: Sequence[SequenceScores]) -> list[str]:
    names: dict[str, None] = {}
    for sequence in sequences:
        for values in sequence.frame_metrics:
            names.update(dict.fromkeys(values))
    return list(names)


def compute_frechet_distances(
    sequences: Sequence[SequenceScores],
) -> tuple[MetricValues, dict[str, int]]:
    """Return the Fréchet distance and the number of samples of each feature extractor.

    There is no distance for fewer than two samples.
    """
    distances, counts = {}, {}
    for name in sequences[0].features if sequences else ():
        real = np.concatenate([sequence.features[name][0] for sequence in sequences])
        fake = np.concatenate([sequence.features[name][1] for sequence in sequences])
        counts[name] = len(real)
        if len(real) > 1:
            distances[name] = metrics.frechet_distance(real, fake)
    return distances, counts


def build_evaluation_report(
    sequences: Sequence[SequenceScores], settings: dict[str, str]
) -> EvaluationReport:
    """Summarize an evaluation.

    Args:
        sequences: The results.
        settings: What was compared and how, by title.
    """
    means = average_metrics(sequences)
    distances, counts = compute_frechet_distances(sequences)
    n_frames = sum(len(sequence.frame_metrics) for sequence in sequences)
    curves = {
        name: metrics.mean_curve([sequence.get_curve(name) for sequence in sequences]).tolist()
        for name in means
    }
    return EvaluationReport(
        settings=settings | {"sequences": str(len(sequences)), "frames": str(n_frames)},
        warnings=[
            f"{name}: {count} samples, fewer than {_MIN_FRECHET_SAMPLES}: the distance is biased upward; "
            "compare it only with distances of as many samples"
            for name, count in counts.items()
            if count < _MIN_FRECHET_SAMPLES
        ],
        mean=means | distances,
        drift={name: metrics.drift(curve) for name, curve in curves.items()},
        sequences={sequence.name: average_metrics([sequence]) for sequence in sequences},
        curves=curves,
    )


# Conversions


def array_to_tensor(image: np.ndarray, device: torch.device) -> Tensor:
    """Convert (H, W, 3) uint8 to (1, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).to(device)[None].float() / 127.5 - 1


def tensor_to_array(image: Tensor) -> np.ndarray:
    """Convert (1, 3, H, W) in [-1, 1] to float (H, W, 3) in 0..255, rounded to 0.001.

    Without the rounding, the error of a static video would not be exactly 0.
    """
    return ((image[0] + 1) * 127.5).permute(1, 2, 0).cpu().numpy().round(3)
