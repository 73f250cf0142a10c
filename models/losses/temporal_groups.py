"""Groups of frames for the temporal discriminators (paper, section 3.3).

The temporal discriminator of scale s scores groups of tD frames that are tD**s frames apart. The
plans are pure functions of frame numbers; `group_frames` then stacks the tensors. Generated frames
of a clip are numbered from 0. The n_history frames before them are never part of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.networks.discriminators import TemporalConfig
from util.clip import Clip

FrameNumbers = tuple[int, ...]


@dataclass(frozen=True)
class FrameGroupPlan:
    """The frame groups of one window.

    Attributes:
        groups: Per scale, the groups of frame numbers.
        retained: Per scale, the frames to keep for the groups of later windows.
    """

    groups: tuple[tuple[FrameNumbers, ...], ...]
    retained: tuple[FrameNumbers, ...]


def plan_frame_groups(
    retained: Sequence[FrameNumbers], new: Sequence[int], config: TemporalConfig
) -> FrameGroupPlan:
    """Plan the groups that the new frames of a window complete.

    Args:
        retained: Per scale, what the previous window's plan retains; () per scale at first.
        new: Frame numbers of this window.
        config: Settings.
    """
    if not config.n_scales:
        return FrameGroupPlan((), ())
    if config.is_sparse:
        return _plan_sparse_groups(retained, new, config)
    return _plan_dense_groups(retained, new, config)


def _plan_dense_groups(
    retained: Sequence[FrameNumbers], new: Sequence[int], config: TemporalConfig
) -> FrameGroupPlan:
    """Plan overlapping groups. All scales share one list of retained frames."""
    tD = config.n_frames_D
    frames = [*retained[0], *new]
    groups = tuple(
        _list_dense_groups(frames, len(new), scale, tD) for scale in range(config.n_scales)
    )
    max_span = tD ** (config.n_scales - 1) * (tD - 1)
    return FrameGroupPlan(groups, (tuple(frames[-max_span:]),) * config.n_scales)


def _list_dense_groups(
    frames: Sequence[int], n_new: int, scale: int, tD: int
) -> tuple[FrameNumbers, ...]:
    """List groups that end at the newest frame, tD frames before it, and so on."""
    stride = tD**scale
    span = stride * (tD - 1)
    last = len(frames) - 1
    ends = [last - offset for offset in range(0, min(len(frames) - span, n_new), tD)]
    return tuple(tuple(frames[end - span : end + 1 : stride]) for end in ends)


def _plan_sparse_groups(
    retained: Sequence[FrameNumbers], new: Sequence[int], config: TemporalConfig
) -> FrameGroupPlan:
    """Plan groups without overlap. Each scale has a queue of its own."""
    plans = [
        _update_sparse_queue(queue, new, scale, config.n_frames_D)
        for scale, queue in enumerate(retained)
    ]
    queues = tuple(queue for queue, _ in plans)
    groups = tuple(groups for _, groups in plans)
    return FrameGroupPlan(groups, queues)


def _update_sparse_queue(
    queue: FrameNumbers, new: Sequence[int], scale: int, tD: int
) -> tuple[FrameNumbers, tuple[FrameNumbers, ...]]:
    """Append new frames to a scale's queue; return the queue and the groups that it now holds."""
    # As published: a queue that was just emptied into groups keeps its last tD - 1 frames.
    if queue and len(queue) % tD == 0:
        queue = queue[-(tD - 1) :]
    queue = (*queue, *(n for n in new if n % tD**scale == 0))
    if len(queue) < tD:
        return queue, ()
    queue = queue[len(queue) % tD :]
    return queue, tuple(queue[i : i + tD] for i in range(0, len(queue), tD))


def plan_clip_groups(
    n_generated: int, window_size: int, config: TemporalConfig
) -> Iterator[FrameGroupPlan]:
    """Yield the plans of a clip's windows, in order."""
    retained: tuple[FrameNumbers, ...] = ((),) * config.n_scales
    for start in range(0, n_generated - window_size + 1, window_size):
        plan = plan_frame_groups(retained, range(start, start + window_size), config)
        retained = plan.retained
        yield plan


# the frame pairs whose flow training needs


def list_adjacent_pairs(group: FrameNumbers) -> list[tuple[int, int]]:
    """Return the (current, previous) frame numbers inside a group."""
    return list(zip(group[1:], group[:-1], strict=True))


def list_flow_pairs(
    n_frames: int, window_size: int, n_frames_G: int, config: TemporalConfig
) -> tuple[tuple[int, int], ...]:
    """Return the (current, previous) frame numbers between which training needs the flow.

    Args:
        n_frames: Frames of a clip, its n_history first ones included. Frames are numbered from the
            first of these.
        window_size: Frames generated per window.
        n_frames_G: tG; n_history is tG - 1.
        config: Settings.
    """
    n_history = n_frames_G - 1
    pairs = {(n, n - 1) for n in range(n_history, n_frames)}
    if not config.is_sparse:
        # Frames of a dense group of scale 1 and above are further apart than neighbors are.
        for plan in plan_clip_groups(n_frames - n_history, window_size, config):
            for scale_groups in plan.groups[1:]:
                for group in scale_groups:
                    pairs |= {
                        (current + n_history, previous + n_history)
                        for current, previous in list_adjacent_pairs(group)
                    }
    return tuple(sorted(pairs))


@dataclass(frozen=True)
class FlowPairSelector:
    """Selects the frame pairs of a clip whose flow training needs. Picklable."""

    n_frames_G: int
    temporal: TemporalConfig

    def __call__(self, clip: Clip) -> tuple[tuple[int, int], ...]:
        return list_flow_pairs(len(clip), clip.window_size, self.n_frames_G, self.temporal)


def compute_flow_strides(max_t_step: int, config: TemporalConfig) -> set[int]:
    """Return how many frames of a video lie between two frames whose flow training needs.

    Args:
        max_t_step: Largest spacing of a clip's frames in the video.
        config: Settings.
    """
    n_scales = 1 if config.is_sparse else max(config.n_scales, 1)
    strides = [config.n_frames_D**scale for scale in range(n_scales)]
    return {spacing * stride for spacing in range(1, max_t_step + 1) for stride in strides}


# tensors


@dataclass(frozen=True)
class BufferedFrame:
    """A frame that later groups need.

    Attributes:
        real: (B, 3, H, W).
        fake: (B, 3, H, W).
        flow: Reference flow to the frame numbered one less, (B, 2, H, W).
    """

    real: Tensor
    fake: Tensor
    flow: Tensor

    def apply(self, fn: Callable[[Tensor], Tensor]) -> BufferedFrame:
        """Return the frame with every tensor replaced by fn(tensor)."""
        return BufferedFrame(fn(self.real), fn(self.fake), fn(self.flow))


@dataclass(frozen=True)
class FrameBuffer:
    """Frames of earlier windows, without gradient.

    Attributes:
        retained: Per scale, the numbers of the frames that it needs.
        frames: These frames by number.
    """

    retained: tuple[FrameNumbers, ...]
    frames: Mapping[int, BufferedFrame]

    @staticmethod
    def empty(config: TemporalConfig) -> FrameBuffer:
        """Return the buffer at a clip's start."""
        return FrameBuffer(((),) * config.n_scales, {})

    def apply(self, fn: Callable[[Tensor], Tensor]) -> FrameBuffer:
        """Return the buffer with every tensor replaced by fn(tensor)."""
        return FrameBuffer(self.retained, {n: frame.apply(fn) for n, frame in self.frames.items()})


@dataclass(frozen=True)
class FrameGroups:
    """The G groups of one temporal scale in one window.

    Attributes:
        frame_numbers: The frame numbers of each group.
        real: (B, G, tD, 3, H, W).
        fake: (B, G, tD, 3, H, W).
        flow: Of all frames of a group but the first, the flow to the frame numbered one less:
            (B, G, tD-1, 2, H, W). Only at a stride of 1 is that frame the group's own neighbor.
    """

    frame_numbers: tuple[FrameNumbers, ...]
    real: Tensor
    fake: Tensor
    flow: Tensor


def group_frames(
    frame_buffer: FrameBuffer, new_frames: Mapping[int, BufferedFrame], config: TemporalConfig
) -> tuple[list[FrameGroups | None], FrameBuffer]:
    """Stack the groups that the new frames of a window complete.

    Args:
        frame_buffer: Frames of earlier windows.
        new_frames: Frames of this window by number.
        config: Settings.

    Returns:
        The groups of each scale (None where a scale has none), and the buffer for the next window.
    """
    plan = plan_frame_groups(frame_buffer.retained, sorted(new_frames), config)
    frames = {**frame_buffer.frames, **new_frames}
    scales = [_stack_groups(frames, groups) if groups else None for groups in plan.groups]
    retained_frames = {
        n: BufferedFrame(frames[n].real, frames[n].fake.detach(), frames[n].flow)
        for n in sorted(set().union(*plan.retained))
    }
    return scales, FrameBuffer(plan.retained, retained_frames)


def _stack_groups(
    frames: Mapping[int, BufferedFrame], groups: Sequence[FrameNumbers]
) -> FrameGroups:
    def stack(tensors_by_group: Iterator[list[Tensor]]) -> Tensor:
        return torch.stack([torch.stack(tensors, dim=1) for tensors in tensors_by_group], dim=1)

    return FrameGroups(
        frame_numbers=tuple(groups),
        real=stack([frames[n].real for n in group] for group in groups),
        fake=stack([frames[n].fake for n in group] for group in groups),
        flow=stack([frames[n].flow for n in group[1:]] for group in groups),
    )
