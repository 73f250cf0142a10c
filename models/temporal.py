"""Which frames the temporal discriminators see together (SPEC 8). Pure: numbers in, numbers out; then the tensors.

Frames are numbered as generated in a clip, from 0; the given first tG-1 pictures never take part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from util.clip import Clip

Group = tuple[int, ...]


@dataclass(frozen=True)
class TemporalConfig:
    """n_frames: tD, frames of a group. n_scales: temporal scales; scale s strides by tD**s. sparse: `--sparse_D`."""

    n_frames: int = 3
    n_scales: int = 3
    sparse: bool = False


@dataclass(frozen=True)
class GroupPlan:
    """Of one window: the groups of every scale, and the frames that every scale must remember for the next window."""

    groups: tuple[tuple[Group, ...], ...]
    kept: tuple[Group, ...]


def _dense_groups(frames: Sequence[int], n_new: int, scale: int, tD: int) -> tuple[Group, ...]:
    stride = tD**scale
    span = stride * (tD - 1)
    newest = len(frames) - 1
    ends = (newest - offset for offset in range(0, min(len(frames) - span, n_new), tD))
    return tuple(tuple(frames[end - span:end + 1:stride]) for end in ends)


def _plan_dense(kept: Sequence[Group], new: Sequence[int], config: TemporalConfig) -> GroupPlan:
    frames = [*kept[0], *new]
    tD = config.n_frames
    groups = tuple(_dense_groups(frames, len(new), scale, tD) for scale in range(config.n_scales))
    memory = tuple(frames[-(tD ** (config.n_scales - 1) * (tD - 1)):])
    return GroupPlan(groups, (memory,) * config.n_scales)


def _sparse_queue(queue: Group, new: Sequence[int], scale: int, tD: int) -> tuple[Group, tuple[Group, ...]]:
    if queue and len(queue) % tD == 0:
        queue = queue[-(tD - 1):]
    queue = (*queue, *(n for n in new if n % tD**scale == 0))
    if len(queue) < tD:
        return queue, ()
    queue = queue[len(queue) % tD:]
    return queue, tuple(queue[i:i + tD] for i in range(0, len(queue), tD))


def plan_groups(kept: Sequence[Group], new: Sequence[int], config: TemporalConfig) -> GroupPlan:
    """kept: what the plan of the window before says, or () per scale before the first. new: this window's frames."""
    if not config.n_scales:
        return GroupPlan((), ())
    if not config.sparse:
        return _plan_dense(kept, new, config)
    queues, groups = zip(*(_sparse_queue(queue, new, scale, config.n_frames) for scale, queue in enumerate(kept)),
                         strict=True)
    return GroupPlan(groups, queues)


def plan_clip(n_generated: int, load: int, config: TemporalConfig) -> Iterator[GroupPlan]:
    """The plans of a clip's windows, in order."""
    kept: tuple[Group, ...] = ((),) * config.n_scales
    for start in range(0, n_generated - load + 1, load):
        plan = plan_groups(kept, range(start, start + load), config)
        kept = plan.kept
        yield plan


def neighbours(group: Group) -> list[tuple[int, int]]:
    """(current, previous) frame numbers inside a group."""
    return list(zip(group[1:], group[:-1], strict=True))


@dataclass(frozen=True)
class PairsOf:
    """All (current, previous) frame numbers of a clip whose reference flow training on it will ask for. Picklable."""

    n_frames_G: int
    temporal: TemporalConfig

    def __call__(self, clip: Clip) -> tuple[tuple[int, int], ...]:
        return flow_pairs(len(clip), clip.load, self.n_frames_G, self.temporal)


def flow_pairs(n_frames: int, load: int, n_frames_G: int, config: TemporalConfig) -> tuple[tuple[int, int], ...]:
    """Those of a clip of n_frames, its given first ones counted, that is trained in windows of `load`."""
    first = n_frames_G - 1
    pairs = {(n, n - 1) for n in range(first, n_frames)}
    if not config.sparse:
        plans = plan_clip(n_frames - first, load, config)
        pairs |= {(a + first, b + first) for plan in plans for groups in plan.groups[1:]
                  for group in groups for a, b in neighbours(group)}
    return tuple(sorted(pairs))


def flow_distances(max_t_step: int, config: TemporalConfig) -> set[int]:
    """How many frames of a video may lie between the two whose flow training asks for (`flow_pairs`, any spacing)."""
    strides = [1] if config.sparse else [config.n_frames**scale for scale in range(max(config.n_scales, 1))]
    return {spacing * stride for spacing in range(1, max_t_step + 1) for stride in strides}


@dataclass(frozen=True)
class SeenFrame:
    """What temporal discriminators remember of a frame: pictures (B, 3, H, W), flow to the one before (B, 2, H, W)."""

    real: Tensor
    fake: Tensor
    flow: Tensor

    def to(self, device: torch.device) -> SeenFrame:
        return SeenFrame(self.real.to(device), self.fake.to(device), self.flow.to(device))


@dataclass(frozen=True)
class Memory:
    """Frames of past windows by number, their gradients cut, and which of them each scale keeps."""

    kept: tuple[Group, ...]
    frames: Mapping[int, SeenFrame]

    @staticmethod
    def empty(config: TemporalConfig) -> Memory:
        return Memory(((),) * config.n_scales, {})


@dataclass(frozen=True)
class FrameGroups:
    """The groups of one temporal scale: real, fake (B, G, tD, 3, H, W); flow (B, G, tD-1, 2, H, W), each frame's to the
    one numbered before it, which are a group's own neighbours only where its stride is 1."""

    numbers: tuple[Group, ...]
    real: Tensor
    fake: Tensor
    flow: Tensor


def _gather(frames: Mapping[int, SeenFrame], groups: Sequence[Group], name: str) -> Tensor:
    return torch.stack([torch.stack([getattr(frames[n], name) for n in group], 1) for group in groups], 1)


def group_frames(memory: Memory, new: Mapping[int, SeenFrame],
                 config: TemporalConfig) -> tuple[list[FrameGroups | None], Memory]:
    """The groups that `new` frames, by number, complete at every scale (None: none), and the memory after them."""
    plan = plan_groups(memory.kept, sorted(new), config)
    frames = {**memory.frames, **new}
    found = [FrameGroups(groups, _gather(frames, groups, "real"), _gather(frames, groups, "fake"),
                         _gather(frames, [group[1:] for group in groups], "flow")) if groups else None
             for groups in plan.groups]
    kept = {n: SeenFrame(frames[n].real, frames[n].fake.detach(), frames[n].flow)
            for n in sorted(set().union(*plan.kept))}
    return found, Memory(plan.kept, kept)
