"""Reference flow in the data loader's workers, before a clip reaches the training process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from models.flow.cache import FlowCache, ReadPicture, cut_flow
from models.flow.reference import ReferenceFlow
from util.clip import Clip
from util.levels import numbers_of

Pair = tuple[int, int]  # frame numbers in the clip: current, previous
PairsOf = Callable[[Clip], tuple[Pair, ...]]


@dataclass(frozen=True)
class EstimatingAnnotator:
    """Fills in `pairs` and `pair_flow`, estimated on the clip as it is trained. Picklable if its parts are.

    pairs_of: the pairs that training on a clip will ask for.
    """

    reference: ReferenceFlow
    pairs_of: PairsOf

    def __call__(self, clip: Clip) -> Clip:
        pairs = self.pairs_of(clip)
        assert clip.picture is not None and clip.picture.shape[0] == 1
        frames = numbers_of(clip.picture[0])
        flow = [self.reference.vectors(frames[None, a], frames[None, b]) for a, b in pairs]
        return replace(clip, pairs=pairs, pair_flow=torch.stack(flow, 1)) if pairs else clip


@dataclass(frozen=True)
class CachedAnnotator:
    """Fills in `pairs` and `pair_flow` from the flow of the clip's untransformed pictures. Picklable if its parts are.

    reference: estimates what the cache lacks, and keeps it; None: pairs that it lacks are left to the training
        process, which estimates them on the clip.
    """

    cache: FlowCache
    reference: ReferenceFlow | None
    pairs_of: PairsOf
    read: ReadPicture

    def __call__(self, clip: Clip) -> Clip:
        assert clip.source is not None, "a cached flow is cut as the clip was: the data set must say how"
        flow = {pair: self._flow(clip, pair) for pair in self.pairs_of(clip)}
        found = {pair: vectors for pair, vectors in flow.items() if vectors is not None}
        return replace(clip, pairs=tuple(found), pair_flow=torch.stack(list(found.values()))[None]) if found else clip

    def _flow(self, clip: Clip, pair: Pair) -> Tensor | None:
        assert clip.source is not None
        current, previous = (clip.source.files[frame] for frame in pair)
        whole = self._whole(current, previous)
        height, width = clip.condition.shape[-2:]
        return None if whole is None else cut_flow(whole, clip.source, (height, width))

    def _whole(self, current: Path, previous: Path) -> Tensor | None:
        if self.reference is None:
            return self.cache.find(current, previous)
        return self.cache.find_or_estimate(current, previous, self.reference, self.read)


def annotator(reference: ReferenceFlow, pairs_of: PairsOf, read: ReadPicture,
              cache_folder: Path | None = None) -> Callable[[Clip], Clip] | None:
    """What the loader's workers add to a clip; None: nothing, the training process estimates all flow.

    cache_folder: `--flow_cache`. Where workers cannot run the network, they find there what `fill` has put there.
    """
    if reference.name == "none":
        return None
    if cache_folder is not None:
        own = reference if reference.runs_in_workers else None
        return CachedAnnotator(FlowCache.of(cache_folder, reference), own, pairs_of, read)
    return EstimatingAnnotator(reference, pairs_of) if reference.runs_in_workers else None
