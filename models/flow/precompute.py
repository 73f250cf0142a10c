"""Reference flow computed in the data loader's workers, and in the cache before training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from models.flow.cache import FlowCache, ReadImage, crop_flow
from models.flow.estimator import FlowEstimator
from util.clip import Clip
from util.images.normalization import normalize_if_uint8

FrameNumberPair = tuple[int, int]  # (current, previous) frame numbers of a clip
SelectFlowPairs = Callable[[Clip], tuple[FrameNumberPair, ...]]
FilePair = tuple[Path, Path]  # (current, previous) image files


# In the data loader's workers


@dataclass(frozen=True)
class FlowAnnotator:
    """Adds `flow_pairs` and `pair_flow` to a clip, estimated on its transformed images.

    Picklable if its fields are.

    Attributes:
        flow_estimator: Runs in the worker.
        select_pairs: Returns the frame pairs whose flow training on the clip needs.
    """

    flow_estimator: FlowEstimator
    select_pairs: SelectFlowPairs

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with its flow."""
        pairs = self.select_pairs(clip)
        if not pairs:
            return clip
        assert clip.image is not None and clip.image.shape[0] == 1
        frames = normalize_if_uint8(clip.image[0])
        flow = [
            self.flow_estimator.estimate(frames[None, current], frames[None, previous])
            for current, previous in pairs
        ]
        return replace(clip, flow_pairs=pairs, pair_flow=torch.stack(flow, 1))


@dataclass(frozen=True)
class CachedFlowAnnotator:
    """Adds `flow_pairs` and `pair_flow` to a clip, cropped from the cached flow of its image files.

    Picklable if its fields are.

    Attributes:
        cache: Flow between image files.
        flow_estimator: Estimates and saves flow that the cache lacks. None: the clip gets no flow for such pairs, and
            the training process estimates it.
        select_pairs: Returns the frame pairs whose flow training on the clip needs.
        read_image: Reads an image file for the estimator.
    """

    cache: FlowCache
    flow_estimator: FlowEstimator | None
    select_pairs: SelectFlowPairs
    read_image: ReadImage

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with the flow that the cache holds."""
        assert clip.source is not None, "the dataset must set Clip.source to crop cached flow"
        flow: dict[FrameNumberPair, Tensor] = {}
        for pair in self.select_pairs(clip):
            pair_flow = self._load_cropped_flow(clip, pair)
            if pair_flow is not None:
                flow[pair] = pair_flow
        if not flow:
            return clip
        return replace(
            clip, flow_pairs=tuple(flow), pair_flow=torch.stack(list(flow.values()))[None]
        )

    def _load_cropped_flow(self, clip: Clip, pair: FrameNumberPair) -> Tensor | None:
        assert clip.source is not None
        current, previous = (clip.source.files[frame] for frame in pair)
        flow = self._load_full_flow(current, previous)
        if flow is None:
            return None
        height, width = clip.condition.shape[-2:]
        return crop_flow(flow, clip.source, (height, width))

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
    """Return what the data loader's workers apply to each clip; None if they add no flow.

    In the latter case the training process estimates all flow.

    Args:
        flow_estimator: The run's reference flow. Workers run it if it is worker-safe.
        select_pairs: Returns the frame pairs whose flow training on a clip needs.
        read_image: Reads an image file for the estimator.
        cache_folder: `--flow_cache`. If the workers cannot run the estimator, they use what `precompute_flow` saved.
    """
    if flow_estimator.name == "none":
        return None
    worker_estimator = flow_estimator if flow_estimator.is_worker_safe else None
    if cache_folder is not None:
        cache = FlowCache.for_estimator(cache_folder, flow_estimator)
        return CachedFlowAnnotator(cache, worker_estimator, select_pairs, read_image)
    if worker_estimator is not None:
        return FlowAnnotator(worker_estimator, select_pairs)
    return None


# Into the cache before training


def list_file_pairs(sequences: Iterable[Sequence[Path]], strides: Iterable[int]) -> list[FilePair]:
    """Pair each image of each sequence with the image `stride` frames before it, for every stride."""
    sorted_strides = sorted(set(strides))
    return [
        (files[i], files[i - stride])
        for files in sequences
        for stride in sorted_strides
        for i in range(stride, len(files))
    ]


def precompute_flow(
    cache: FlowCache,
    pairs: Sequence[FilePair],
    flow_estimator: FlowEstimator,
    read_image: ReadImage,
    device: torch.device,
) -> None:
    """Estimate on `device` all flow that the cache lacks. An interrupted call continues where it stopped."""

    def read_to_device(path: Path) -> Tensor:
        return read_image(path).to(device)

    progress = tqdm(pairs, f"flow of {flow_estimator.name}", unit="pair", dynamic_ncols=True)
    for current, previous in progress:
        cache.load_or_estimate(current, previous, flow_estimator, read_to_device)
