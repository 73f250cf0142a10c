"""Clips for training (planned, random, by workers) and for test (frame by frame, in constant memory)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from data.domain import Domain, FrameMaps, Lead
from data.geometry import Geometry, GeometryConfig, plan_geometry
from data.sampling import ClipPlan
from data.sequences import Sequence
from util.clip import Clip, Source
from util.errors import UserError
from util.levels import Levels


@dataclass(frozen=True)
class ClipDataset:
    """Training clips. Map-style with plans for keys, and stateless: a plan always gives the same clip, whoever asks.

    annotate: what the worker adds to a clip before it is handed over (such as its flow); must be picklable.
    """

    domain: Domain
    sequences: Collection[Sequence]
    geometry: GeometryConfig
    annotate: Callable[[Clip], Clip] | None = None

    def __getitem__(self, plan: ClipPlan) -> Clip:
        """The clip with B = 1. Geometry first, then frame after frame draw from one generator of the plan's seed."""
        rng = np.random.default_rng(plan.seed)
        sequence = self.sequences[plan.sequence]
        lead = self.domain.lead(sequence.paths(plan.frames[0]), train=True)
        geometry = plan_geometry(lead, self.geometry, rng)
        maps = [self.domain.read(sequence.paths(frame), geometry, rng) for frame in plan.frames]
        names = [sequence.frame_name(frame) for frame in plan.frames]
        clip = replace(clip_of(maps, names, self.domain.levels), load=plan.load)
        if self.annotate is None:
            return clip
        files = tuple(sequence.paths(frame)["picture"] for frame in plan.frames)
        source = Source(files, _shown(geometry, lead, clip), geometry.flip)
        return replace(self.annotate(replace(clip, source=source)), source=None)

    def files(self, plan: ClipPlan) -> str:
        """First and last file that a clip is read from, in each folder, for people."""
        sequence = self.sequences[plan.sequence]
        first, last = sequence.paths(plan.frames[0]), sequence.paths(plan.frames[-1])
        return ", ".join(f"{first[stream]} to {last[stream].name}" for stream in first)


@dataclass(frozen=True)
class SequenceReader:
    """The frames of a test sequence from `start` on, each a clip with B = T = 1, read when it is asked for.

    The geometry is planned once, from the frame at `start`. Clips carry the real picture where its stream is read.
    """

    domain: Domain
    sequence: Sequence
    geometry: GeometryConfig
    start: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start < len(self.sequence):
            raise UserError(f"--start_frame {self.start}: sequence {self.sequence.name} has frames "
                            f"0..{len(self.sequence) - 1}")

    def __len__(self) -> int:
        return len(self.sequence) - self.start

    def __iter__(self) -> Iterator[Clip]:
        geometry = plan_geometry(self.domain.lead(self.sequence.paths(self.start), train=False), self.geometry, None)
        for frame in range(self.start, len(self.sequence)):
            yield clip_of([self.domain.read(self.sequence.paths(frame), geometry, None)],
                          [self.sequence.frame_name(frame)], self.domain.levels)


def spread_frames(domain: Domain, sequences: Collection[Sequence], geometry: GeometryConfig,
                  most: int) -> Iterator[Clip]:
    """At most `most` frames, evenly over all sequences, each with its picture and read as in test, by itself."""
    frames = [(sequence, frame) for sequence in sequences for frame in range(len(sequence))]
    count = min(most, len(frames))
    for sequence, frame in (frames[i * len(frames) // count] for i in range(count)):
        yield next(iter(SequenceReader(domain, sequence, geometry, start=frame)))


def _shown(geometry: Geometry, lead: Lead, clip: Clip) -> tuple[float, float, float, float]:
    """The part of the picture files that a clip shows: all of its geometry, or that one's middle columns (pose)."""
    left, top, right, bottom = geometry.shown(lead.size)
    width = clip.condition.shape[-1]
    first = (geometry.size[0] - width) // 2
    column = (right - left) / geometry.size[0]
    return left + first * column, top, left + (first + width) * column, bottom


def clip_of(maps: Collection[FrameMaps], names: Collection[str], levels: Levels | None) -> Clip:
    """One clip (B = 1) of T frames. levels: of the domain that read them."""
    return Clip(_stacked([m.condition for m in maps]), _present([m.picture for m in maps]),
                _present([m.instance for m in maps]), names=(tuple(names),), levels=levels)


def _present(frames: Collection[Tensor | None]) -> Tensor | None:
    present = [frame for frame in frames if frame is not None]
    assert len(present) in (0, len(frames)), "a domain gives a map for every frame or for none"
    return _stacked(present) if present else None


def _stacked(frames: Collection[Tensor]) -> Tensor:
    """T frames (C, H, W) -> (1, T, C, H, W)."""
    return torch.stack(list(frames))[None]
