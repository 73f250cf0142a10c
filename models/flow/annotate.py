"""Reference flow in the data loader's workers, before a clip reaches the training process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from models.flow.cache import FlowCache, ReadImage, crop_flow
from models.flow.estimator import FlowEstimator
from util.clip import Clip
from util.images.normalization import normalize_if_uint8

FrameNumberPair = tuple[int, int]  # frame numbers in the clip: current, previous
SelectFlowPairs = Callable[[Clip], tuple[FrameNumberPair, ...]]


@dataclass(frozen=True)
class FlowAnnotator:
    """Fills in `pairs` and `pair_flow`, estimated on the clip as it is trained. Picklable if its parts are.

    pairs_of: the pairs that training on a clip will ask for.
    """

    flow_estimator: FlowEstimator
    select_pairs: SelectFlowPairs

    def __call__(self, clip: Clip) -> Clip:
        pairs = self.select_pairs(clip)
        assert clip.image is not None and clip.image.shape[0] == 1
        frames = normalize_if_uint8(clip.image[0])
        flow = [self.flow_estimator.estimate(frames[None, a], frames[None, b]) for a, b in pairs]
        return replace(clip, flow_pairs=pairs, pair_flow=torch.stack(flow, 1)) if pairs else clip


@dataclass(frozen=True)
class CachedFlowAnnotator:
    """Fills in `pairs` and `pair_flow` from the flow of the clip's untransformed images. Picklable if its parts are.

    reference: estimates what the cache lacks, and keeps it; None: pairs that it lacks are left to the training
        process, which estimates them on the clip.
    """

    cache: FlowCache
    flow_estimator: FlowEstimator | None
    select_pairs: SelectFlowPairs
    read_image: ReadImage

    def __call__(self, clip: Clip) -> Clip:
        assert clip.source is not None, (
            "a cached flow is cut as the clip was: the data set must say how"
        )
        flow = {pair: self._load_cropped_flow(clip, pair) for pair in self.select_pairs(clip)}
        found = {pair: vectors for pair, vectors in flow.items() if vectors is not None}
        return (
            replace(
                clip, flow_pairs=tuple(found), pair_flow=torch.stack(list(found.values()))[None]
            )
            if found
            else clip
        )

    def _load_cropped_flow(self, clip: Clip, pair: FrameNumberPair) -> Tensor | None:
        assert clip.source is not None
        current, previous = (clip.source.files[frame] for frame in pair)
        whole = self._load_full_flow(current, previous)
        height, width = clip.condition.shape[-2:]
        return None if whole is None else crop_flow(whole, clip.source, (height, width))

    def _load_full_flow(self, current: Path, previous: Path) -> Tensor | None:
        if self.flow_estimator is None:
            return self.cache.load(current, previous)
        return self.cache.load_or_estimate(current, previous, self.flow_estimator, self.read_image)


def build_flow_annotator(
    flow_estimator: FlowEstimator,
    select_pairs: SelectFlowPairs,
    read_image: ReadImage,
    cache_folder: Path | None = None,
) -> Callable[[Clip], Clip] | None:
    """What the loader's workers add to a clip; None: nothing, the training process estimates all flow.

    cache_folder: `--flow_cache`. Where workers cannot run the network, they find there what `fill` has put there.
    """
    if flow_estimator.name == "none":
        return None
    if cache_folder is not None:
        own = flow_estimator if flow_estimator.is_worker_safe else None
        return CachedFlowAnnotator(
            FlowCache.for_estimator(cache_folder, flow_estimator), own, select_pairs, read_image
        )
    return FlowAnnotator(flow_estimator, select_pairs) if flow_estimator.is_worker_safe else None
