"""Painting only every N-th frame (`--keyframes N`); those between are its neighbours, moved along and blended.

A key frame sees the conditions that it always saw, and in place of the images before it the last key frame, carried
to where the conditions have moved since. So it is asked for the motion of one frame, as in training, and errors pass
through fewer networks: on the toy street this is nearer to the real video than key frames that see each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from models.flow import FlowEstimator
from models.flow.dis import DISFlowEstimator
from models.flow.warp import warp
from models.inference.batched import IndexedFrames, synthesize_batched
from models.inference.first_frame import FirstImageProvider
from models.inference.synthesis import SynthesisConfig, synthesize
from models.networks.input_encoding import pad_clip
from util.clip import Clip

SynthesizedFrames = Iterator[tuple[Clip, Tensor]]
SequenceSynthesizer = Callable[
    [nn.ModuleList, Sequence[Iterable[Clip]], FirstImageProvider, SynthesisConfig, torch.device],
    IndexedFrames,
]
_LABEL_GRAY_FACTOR = 53  # odd: times this, modulo 256, neighbouring label ids become grey levels far apart, and none the same


def select_sequence_synthesizer(keyframe_interval: int) -> SequenceSynthesizer:
    """Of several sequences. keyframes: 1 paints every frame."""
    return (
        synthesize_batched
        if keyframe_interval == 1
        else partial(
            synthesize_sequentially,
            keyframe_interval=keyframe_interval,
            flow_estimator=DISFlowEstimator(),
        )
    )


def synthesize_sequentially(
    netG: nn.ModuleList,
    sequences: Sequence[Iterable[Clip]],
    get_first_images: FirstImageProvider,
    config: SynthesisConfig,
    device: torch.device,
    *,
    keyframe_interval: int,
    flow_estimator: FlowEstimator,
) -> IndexedFrames:
    """As `models.inference.batched.synthesize_batched`, one sequence after the other."""
    for number, frames in enumerate(sequences):
        for clip, image in synthesize_keyframes(
            netG,
            frames,
            get_first_images,
            config,
            device,
            keyframe_interval=keyframe_interval,
            flow_estimator=flow_estimator,
        ):
            yield number, clip, image


@torch.no_grad()
def synthesize_keyframes(
    netG: nn.ModuleList,
    frames: Iterable[Clip],
    get_first_images: FirstImageProvider,
    config: SynthesisConfig,
    device: torch.device,
    *,
    keyframe_interval: int,
    flow_estimator: FlowEstimator,
) -> SynthesizedFrames:
    """As `synthesise`; frames come `every` at a time, since those between need the key frame after them. A sequence's
    last frame is a key frame however few came before it."""
    coming = iter(frames)
    seen = list(islice(coming, config.n_frames_G))
    for last in synthesize(netG, seen, get_first_images, config, device):
        yield last
    going_on = replace(config, no_first_img=False)
    while group := list(islice(coming, keyframe_interval)):
        seen = [*seen, *group][-config.n_frames_G :]
        carried = WarpedKeyframe(
            *last, config.size_multiple, flow_estimator, label_nc=config.condition_config.label_nc
        )
        before, last = last, next(synthesize(netG, seen, carried, going_on, device))
        yield from zip(
            group, interpolate_frames(before[1], last[1], len(group), flow_estimator), strict=False
        )
        yield last


@dataclass(frozen=True)
class WarpedKeyframe:
    """First images (`models.inference.first_frame`) of a key frame: `image` (B, 3, H, W), painted for `clip`, carried to
    where the condition of each frame says that things are."""

    clip: Clip
    image: Tensor
    size_multiple: int
    flow_estimator: FlowEstimator
    label_nc: int

    def __call__(self, frames: Sequence[Clip]) -> Tensor:
        painted = pad_clip(
            replace(self.clip.to(self.image.device), image=self.image[:, None]), self.size_multiple
        )
        assert painted.image is not None
        there = condition_to_gray(painted, self.label_nc)
        moved = [
            warp(
                painted.image[:, 0],
                self.flow_estimator.estimate(condition_to_gray(frame, self.label_nc), there),
            )
            for frame in frames
        ]
        return torch.stack(moved, dim=1)


def condition_to_gray(clip: Clip, label_nc: int) -> Tensor:
    """A condition (B, T=1, ...) as a grey image (B, 3, H, W) in [-1, 1], for a flow to follow."""
    condition = clip.condition[:, 0]
    grey = (
        (condition.long() * _LABEL_GRAY_FACTOR % 256).float() / 127.5 - 1
        if label_nc
        else condition.mean(dim=1, keepdim=True)
    )
    return grey.expand(-1, 3, -1, -1)


def interpolate_frames(
    first_image: Tensor, last_image: Tensor, n_intervals: int, flow_estimator: FlowEstimator
) -> Iterator[Tensor]:
    """The parts - 1 images that divide the time from one image (B, 3, H, W) to the other into equal parts: both
    moved there, as if everything moved steadily, and blended, the nearer counting more."""
    back, forth = (
        flow_estimator.estimate(last_image, first_image),
        flow_estimator.estimate(first_image, last_image),
    )
    for part in range(1, n_intervals):
        s = part / n_intervals
        yield warp(first_image, back * s) * (1 - s) + warp(last_image, forth * (1 - s)) * s
