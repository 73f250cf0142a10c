"""Which frames the temporal discriminators see together (SPEC 8). Pure: numbers in, numbers out; then the tensors.

Frames are numbered as generated in a clip, from 0; the given first tG-1 images never take part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from util.clip import Clip

FrameNumbers = tuple[int, ...]


@dataclass(frozen=True)
class TemporalConfig:
    """n_frames: tD, frames of a group. n_scales: temporal scales; scale s strides by tD**s. sparse: `--sparse_D`."""

    n_frames_D: int = 3
    n_scales: int = 3
    is_sparse: bool = False


@dataclass(frozen=True)
class FrameGroupPlan:
    """Of one window: the groups of every scale, and the frames that every scale must remember for the next window."""

    groups: tuple[tuple[FrameNumbers, ...], ...]
    retained: tuple[FrameNumbers, ...]


def _list_dense_groups(
    frames: Sequence[int], n_new: int, scale: int, tD: int
) -> tuple[FrameNumbers, ...]:
    stride = tD**scale
    span = stride * (tD - 1)
    newest = len(frames) - 1
    ends = (newest - offset for offset in range(0, min(len(frames) - span, n_new), tD))
    return tuple(tuple(frames[end - span : end + 1 : stride]) for end in ends)


def _plan_dense_groups(
    retained: Sequence[FrameNumbers], new: Sequence[int], config: TemporalConfig
) -> FrameGroupPlan:
    frames = [*retained[0], *new]
    tD = config.n_frames_D
    groups = tuple(
        _list_dense_groups(frames, len(new), scale, tD) for scale in range(config.n_scales)
    )
    memory = tuple(frames[-(tD ** (config.n_scales - 1) * (tD - 1)) :])
    return FrameGroupPlan(groups, (memory,) * config.n_scales)


def _update_sparse_queue(
    queue: FrameNumbers, new: Sequence[int], scale: int, tD: int
) -> tuple[FrameNumbers, tuple[FrameNumbers, ...]]:
    if queue and len(queue) % tD == 0:
        queue = queue[-(tD - 1) :]
    queue = (*queue, *(n for n in new if n % tD**scale == 0))
    if len(queue) < tD:
        return queue, ()
    queue = queue[len(queue) % tD :]
    return queue, tuple(queue[i : i + tD] for i in range(0, len(queue), tD))


def plan_frame_groups(
    retained: Sequence[FrameNumbers], new: Sequence[int], config: TemporalConfig
) -> FrameGroupPlan:
    """kept: what the plan of the window before says, or () per scale before the first. new: this window's frames."""
    if not config.n_scales:
        return FrameGroupPlan((), ())
    if not config.is_sparse:
        return _plan_dense_groups(retained, new, config)
    queues, groups = zip(
        *(
            _update_sparse_queue(queue, new, scale, config.n_frames_D)
            for scale, queue in enumerate(retained)
        ),
        strict=True,
    )
    return FrameGroupPlan(groups, queues)


def plan_clip_groups(
    n_generated: int, window_size: int, config: TemporalConfig
) -> Iterator[FrameGroupPlan]:
    """The plans of a clip's windows, in order."""
    kept: tuple[FrameNumbers, ...] = ((),) * config.n_scales
    for start in range(0, n_generated - window_size + 1, window_size):
        plan = plan_frame_groups(kept, range(start, start + window_size), config)
        kept = plan.retained
        yield plan


def list_adjacent_pairs(group: FrameNumbers) -> list[tuple[int, int]]:
    """(current, previous) frame numbers inside a group."""
    return list(zip(group[1:], group[:-1], strict=True))


@dataclass(frozen=True)
class FlowPairSelector:
    """All (current, previous) frame numbers of a clip whose reference flow training on it will ask for. Picklable."""

    n_frames_G: int
    temporal: TemporalConfig

    def __call__(self, clip: Clip) -> tuple[tuple[int, int], ...]:
        return list_flow_pairs(len(clip), clip.window_size, self.n_frames_G, self.temporal)


def list_flow_pairs(
    n_frames: int, window_size: int, n_frames_G: int, config: TemporalConfig
) -> tuple[tuple[int, int], ...]:
    """Those of a clip of n_frames, its given first ones counted, that is trained in windows of `load`."""
    first = n_frames_G - 1
    pairs = {(n, n - 1) for n in range(first, n_frames)}
    if not config.is_sparse:
        plans = plan_clip_groups(n_frames - first, window_size, config)
        pairs |= {
            (a + first, b + first)
            for plan in plans
            for groups in plan.groups[1:]
            for group in groups
            for a, b in list_adjacent_pairs(group)
        }
    return tuple(sorted(pairs))


def compute_flow_strides(max_t_step: int, config: TemporalConfig) -> set[int]:
    """How many frames of a video may lie between the two whose flow training asks for (`flow_pairs`, any spacing)."""
    strides = (
        [1]
        if config.is_sparse
        else [config.n_frames_D**scale for scale in range(max(config.n_scales, 1))]
    )
    return {spacing * stride for spacing in range(1, max_t_step + 1) for stride in strides}


@dataclass(frozen=True)
class BufferedFrame:
    """What temporal discriminators remember of a frame: images (B, 3, H, W), flow to the one before (B, 2, H, W)."""

    real: Tensor
    fake: Tensor
    flow: Tensor

    def to(self, device: torch.device) -> BufferedFrame:
        return BufferedFrame(self.real.to(device), self.fake.to(device), self.flow.to(device))


@dataclass(frozen=True)
class FrameBuffer:
    """Frames of past windows by number, their gradients cut, and which of them each scale keeps."""

    retained: tuple[FrameNumbers, ...]
    frames: Mapping[int, BufferedFrame]

    @staticmethod
    def empty(config: TemporalConfig) -> FrameBuffer:
        return FrameBuffer(((),) * config.n_scales, {})


@dataclass(frozen=True)
class FrameGroups:
    """The groups of one temporal scale: real, fake (B, G, tD, 3, H, W); flow (B, G, tD-1, 2, H, W), each frame's to the
    one numbered before it, which are a group's own neighbours only where its stride is 1."""

    frame_numbers: tuple[FrameNumbers, ...]
    real: Tensor
    fake: Tensor
    flow: Tensor


def _stack_groups(
    frames: Mapping[int, BufferedFrame], groups: Sequence[FrameNumbers], name: str
) -> Tensor:
    return torch.stack(
        [torch.stack([getattr(frames[n], name) for n in group], 1) for group in groups], 1
    )


def group_frames(
    frame_buffer: FrameBuffer, new_frames: Mapping[int, BufferedFrame], config: TemporalConfig
) -> tuple[list[FrameGroups | None], FrameBuffer]:
    """The groups that `new` frames, by number, complete at every scale (None: none), and the memory after them."""
    plan = plan_frame_groups(frame_buffer.retained, sorted(new_frames), config)
    frames = {**frame_buffer.frames, **new_frames}
    found = [
        FrameGroups(
            groups,
            _stack_groups(frames, groups, "real"),
            _stack_groups(frames, groups, "fake"),
            _stack_groups(frames, [group[1:] for group in groups], "flow"),
        )
        if groups
        else None
        for groups in plan.groups
    ]
    kept = {
        n: BufferedFrame(frames[n].real, frames[n].fake.detach(), frames[n].flow)
        for n in sorted(set().union(*plan.retained))
    }
    return found, FrameBuffer(plan.retained, kept)
