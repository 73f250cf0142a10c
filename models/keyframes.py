"""Painting only every N-th frame (`--keyframes N`); those between are its neighbours, moved along and blended.

A key frame sees the conditions that it always saw, and in place of the pictures before it the last key frame, carried
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

from models.conditions import pad_clip
from models.first_frame import FirstPictures
from models.flow import ReferenceFlow
from models.flow.dis import Dis
from models.synthesis import SynthesisConfig, synthesise
from models.together import Numbered, synthesise_together
from models.warp import warp
from util.clip import Clip

Painted = Iterator[tuple[Clip, Tensor]]
Synthesis = Callable[[nn.ModuleList, Sequence[Iterable[Clip]], FirstPictures, SynthesisConfig, torch.device], Numbered]
SPREAD = 53  # odd: times this, modulo 256, neighbouring label ids become grey levels far apart, and none the same


def choose_synthesis(keyframes: int) -> Synthesis:
    """Of several sequences. keyframes: 1 paints every frame."""
    return synthesise_together if keyframes == 1 else partial(synthesise_in_turn, every=keyframes, flow=Dis())


def synthesise_in_turn(networks: nn.ModuleList, sequences: Sequence[Iterable[Clip]], first: FirstPictures,
                       config: SynthesisConfig, device: torch.device, *, every: int, flow: ReferenceFlow) -> Numbered:
    """As `models.together.synthesise_together`, one sequence after the other."""
    for number, frames in enumerate(sequences):
        for clip, picture in synthesise_keyed(networks, frames, first, config, device, every=every, flow=flow):
            yield number, clip, picture


@torch.no_grad()
def synthesise_keyed(networks: nn.ModuleList, frames: Iterable[Clip], first: FirstPictures, config: SynthesisConfig,
                     device: torch.device, *, every: int, flow: ReferenceFlow) -> Painted:
    """As `synthesise`; frames come `every` at a time, since those between need the key frame after them. A sequence's
    last frame is a key frame however few came before it."""
    coming = iter(frames)
    seen = list(islice(coming, config.n_frames))
    for last in synthesise(networks, seen, first, config, device):
        yield last
    going_on = replace(config, begin_with_zeros=False)
    while group := list(islice(coming, every)):
        seen = [*seen, *group][-config.n_frames:]
        carried = Carried(*last, config.size_multiple, flow, label_nc=config.conditions.label_nc)
        before, last = last, next(synthesise(networks, seen, carried, going_on, device))
        yield from zip(group, between(before[1], last[1], len(group), flow), strict=False)
        yield last


@dataclass(frozen=True)
class Carried:
    """First pictures (`models.first_frame`) of a key frame: `picture` (B, 3, H, W), painted for `clip`, carried to
    where the condition of each frame says that things are."""

    clip: Clip
    picture: Tensor
    size_multiple: int
    flow: ReferenceFlow
    label_nc: int

    def __call__(self, frames: Sequence[Clip]) -> Tensor:
        painted = pad_clip(replace(self.clip.to(self.picture.device), picture=self.picture[:, None]),
                           self.size_multiple)
        assert painted.picture is not None
        there = drawn(painted, self.label_nc)
        moved = [warp(painted.picture[:, 0], self.flow.vectors(drawn(frame, self.label_nc), there)) for frame in frames]
        return torch.stack(moved, dim=1)


def drawn(clip: Clip, label_nc: int) -> Tensor:
    """A condition (B, T=1, ...) as a grey picture (B, 3, H, W) in [-1, 1], for a flow to follow."""
    condition = clip.condition[:, 0]
    grey = (condition.long() * SPREAD % 256).float() / 127.5 - 1 if label_nc else condition.mean(dim=1, keepdim=True)
    return grey.expand(-1, 3, -1, -1)


def between(before: Tensor, after: Tensor, parts: int, flow: ReferenceFlow) -> Iterator[Tensor]:
    """The parts - 1 pictures that divide the time from one picture (B, 3, H, W) to the other into equal parts: both
    moved there, as if everything moved steadily, and blended, the nearer counting more."""
    back, forth = flow.vectors(after, before), flow.vectors(before, after)
    for part in range(1, parts):
        s = part / parts
        yield warp(before, back * s) * (1 - s) + warp(after, forth * (1 - s)) * s
