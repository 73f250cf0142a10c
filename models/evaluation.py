"""How good generated videos are beside the real ones: frame by frame, in constant memory. Composes util.metrics."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from models.features import Features
from models.first_frame import FirstPictures
from models.flow import ReferenceFlow
from models.synthesis import SynthesisConfig, synthesise
from models.warp import warp
from util import metrics
from util.clip import Clip
from util.pictures import to_uint8
from util.report import Report

Pair = tuple[np.ndarray, np.ndarray]  # real, generated: (H, W, 3) uint8
Figures = dict[str, float]
Measure = Callable[[Sequence[Pair]], Figures]  # of the newest of up to LATEST pairs, the oldest first
LATEST = 3
TRUSTED = 2048  # samples below which a Fréchet distance says little: published ones use thousands
CONSISTENT = 0.01, 0.5  # share of the squared lengths, and pixels², that there and back may miss (Sundaram, 2010)


@dataclass(frozen=True)
class SequenceScores:
    """frames: what was measured of each frame (some figures need frames before it). features: by their name the (N, D)
    vectors of real and generated clips."""

    name: str
    frames: tuple[Figures, ...]
    features: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def curve(self, figure: str) -> list[float]:
        """A number for each frame; nan where it has none."""
        return [frame.get(figure, float("nan")) for frame in self.frames]


def score_sequence(name: str, pairs: Iterable[Pair], measures: Sequence[Measure],
                   features: Sequence[Features] = ()) -> SequenceScores:
    latest: deque[Pair] = deque(maxlen=LATEST)
    collectors = [_Collector(kind) for kind in features]
    frames = []
    for pair in pairs:
        latest.append(pair)
        frames.append({name: value for measure in measures for name, value in measure(list(latest)).items()})
        for collector in collectors:
            collector.add(pair)
    return SequenceScores(name, tuple(frames), {c.features.name: c.vectors() for c in collectors})


def evaluate_synthesis(networks: nn.ModuleList, sequences: Sequence[tuple[str, Iterable[Clip]]], first: FirstPictures,
                       config: SynthesisConfig, measures: Sequence[Measure], frames: int,
                       device: torch.device) -> Figures:
    """Mean figures of the networks as they stand, through the very synthesis of test.py.

    sequences: clips (B = T = 1) with their real pictures, by name. frames: made of each, at most."""
    def pairs(clips: Iterable[Clip]) -> Iterator[Pair]:
        for clip, picture in islice(synthesise(networks, clips, first, config, device), frames):
            assert clip.picture is not None
            yield to_uint8(clip.picture[0, 0]), to_uint8(picture[0])

    return means([score_sequence(name, pairs(clips), measures) for name, clips in sequences])


def fidelity(latest: Sequence[Pair]) -> Figures:
    """PSNR and SSIM of the newest pair."""
    return {"psnr": metrics.psnr(*latest[-1]), "ssim": metrics.ssim(*latest[-1])}


def flickering(latest: Sequence[Pair]) -> Figures:
    """Of the generated video and, to hold it against, of the real one; from the third frame on."""
    if len(latest) < 3:
        return {}
    real, fake = zip(*latest, strict=True)
    return {"flicker": metrics.flicker(*fake), "flicker_real": metrics.flicker(*real)}


@dataclass(frozen=True)
class Warping:
    """Warping error of the generated video along the real one's motion, where that is visible in both frames; and of
    the real video itself, which no flow explains wholly."""

    flow: ReferenceFlow
    device: torch.device

    @torch.no_grad()
    def __call__(self, latest: Sequence[Pair]) -> Figures:
        if len(latest) < 2:
            return {}
        (real_before, fake_before), (real, fake) = latest[-2:]
        before, now = as_tensor(real_before, self.device), as_tensor(real, self.device)
        there, back = self.flow.vectors(now, before), self.flow.vectors(before, now)
        visible = visible_in_both(there, back)[0, 0].cpu().numpy()
        return {"warping_error": metrics.warping_error(fake, self._carried(fake_before, there), visible),
                "warping_error_real": metrics.warping_error(real, self._carried(real_before, there), visible)}

    def _carried(self, picture: np.ndarray, flow: Tensor) -> np.ndarray:
        picture_before = as_tensor(picture, self.device).double()
        return as_array(warp(picture_before, flow.double()))


@dataclass(frozen=True)
class Segmented:
    """Whether a segmentation network finds in the generated frame what it finds in the real one: a frame's mean IoU.

    segment: (H, W, 3) uint8 -> (h, w) label ids."""

    segment: Callable[[np.ndarray], np.ndarray]

    def __call__(self, latest: Sequence[Pair]) -> Figures:
        real, fake = (self.segment(picture) for picture in latest[-1])
        return {"mean_iou": metrics.mean_iou(metrics.confusion(real, fake, int(max(real.max(), fake.max())) + 1))}


def standard_measures(flow: ReferenceFlow, device: torch.device) -> list[Measure]:
    """All that need no weights of their own; without a flow there is no warping error."""
    return [fidelity, flickering, *([] if flow.name == "none" else [Warping(flow, device)])]


def visible_in_both(there: Tensor, back: Tensor) -> Tensor:
    """(N, 1, H, W) bool: where following a flow (N, 2, H, W) there and back ends where it began."""
    missed = (there + (returned := warp(back, there))).square().sum(1, keepdim=True)
    share, pixels = CONSISTENT
    lengths = there.square().sum(1, keepdim=True) + returned.square().sum(1, keepdim=True)
    return missed < share * lengths + pixels


def means(sequences: Sequence[SequenceScores]) -> Figures:
    """Every figure's mean over all frames that have it; an infinite PSNR (equal pictures) makes it infinite."""
    names = dict.fromkeys(name for sequence in sequences for frame in sequence.frames for name in frame)
    found = {name: np.array([value for sequence in sequences for value in sequence.curve(name)]) for name in names}
    return {name: float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else float("nan")
            for name, values in found.items()}


def frechet_distances(sequences: Sequence[SequenceScores]) -> tuple[Figures, dict[str, int]]:
    """By the features' name the distance over all sequences, where there are clips enough for one; and their counts."""
    names = sequences[0].features if sequences else {}
    pooled = {name: [np.concatenate([sequence.features[name][side] for sequence in sequences]) for side in (0, 1)]
              for name in names}
    return ({name: metrics.frechet_distance(*sides) for name, sides in pooled.items() if len(sides[0]) > 1},
            {name: len(sides[0]) for name, sides in pooled.items()})


def summary(sequences: Sequence[SequenceScores], settings: dict[str, str]) -> Report:
    """All that is reported of an evaluation. settings: what was compared, in words."""
    distances, counts = frechet_distances(sequences)
    frames = sum(len(sequence.frames) for sequence in sequences)
    curves = {name: metrics.mean_curve([sequence.curve(name) for sequence in sequences]).tolist()
              for name in means(sequences)}
    return Report(
        settings=settings | {"sequences": str(len(sequences)), "frames": str(frames)},
        warnings=[f"{name}: {counts[name]} samples, fewer than {TRUSTED}: the distance is biased upward, compare only "
                  "with one of as many" for name in counts if counts[name] < TRUSTED],
        mean=means(sequences) | distances,
        drift={name: metrics.drift(curve) for name, curve in curves.items()},
        sequences={sequence.name: means([sequence]) for sequence in sequences}, curves=curves)


def as_tensor(picture: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(picture.transpose(2, 0, 1).copy()).to(device)[None].float() / 127.5 - 1


def as_array(picture: Tensor) -> np.ndarray:
    """The way back: (1, 3, H, W) in [-1, 1] -> (H, W, 3) in 0..255, to a thousandth of a level: what rounding
    leaves beyond that would keep a still video's error from being 0."""
    return ((picture[0] + 1) * 127.5).permute(1, 2, 0).cpu().numpy().round(3)


class _Collector:
    """Vectors of consecutive clips, without overlap; what is left of a sequence is dropped."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self._clip: list[Pair] = []
        self._found: tuple[list[np.ndarray], list[np.ndarray]] = [], []

    def add(self, pair: Pair) -> None:
        self._clip.append(pair)
        if len(self._clip) < self.features.n_frames:
            return
        for side, found in enumerate(self._found):
            clip = torch.cat([as_tensor(frames[side], torch.device("cpu")) for frames in self._clip])
            found.append(self.features(clip).cpu().numpy())
        self._clip.clear()

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        real, fake = (np.array(found) for found in self._found)
        return real, fake
