"""Clips for training (planned, random, by workers) and for test (frame by frame, in constant memory)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data.domain import Domain, FrameMaps, Lead
from data.geometry import Geometry, GeometryConfig, plan_geometry
from data.sampling import ClipPlan
from data.sequences import Sequence
from util.clip import Clip, Source
from util.errors import UserError


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
        clip = replace(clip_of(maps, [sequence.frame_name(frame) for frame in plan.frames]), load=plan.load)
        if self.annotate is None:
            return clip
        files = tuple(sequence.paths(frame)["picture"] for frame in plan.frames)
        source = Source(files, _shown(geometry, lead, clip), geometry.flip)
        return replace(self.annotate(replace(clip, source=source)), source=None)


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
                          [self.sequence.frame_name(frame)])


def spread_frames(domain: Domain, sequences: Collection[Sequence], geometry: GeometryConfig,
                  most: int) -> Iterator[Clip]:
    """At most `most` frames, evenly over all sequences, each with its picture and read as in test, by itself."""
    frames = [(sequence, frame) for sequence in sequences for frame in range(len(sequence))]
    count = min(most, len(frames))
    for sequence, frame in (frames[i * len(frames) // count] for i in range(count)):
        yield next(iter(SequenceReader(domain, sequence, geometry, start=frame)))


def make_loader(dataset: ClipDataset, batches: Iterable[list[ClipPlan]], workers: int, pin: bool = False,
                context: str | None = None) -> Iterator[Clip]:
    """The clips of `batches`, in order, read ahead by `workers` processes that live until the last batch.

    batches: may be endless; taken as they are needed. pin: page-locked memory, for a CUDA device.
    context: how workers start (`fork`, `spawn`, `forkserver`; None: Python's choice).
    UserError: of a frame that cannot be read, or of clips of unequal size in a batch.
    """
    own_seeds = torch.Generator()  # else the loader draws from the global one, and workers would change the run
    loader: DataLoader[Clip | UserError] = DataLoader(
        _Reporting(dataset), batch_sampler=batches, num_workers=workers, collate_fn=_collate, pin_memory=pin,
        multiprocessing_context=context if workers else None, generator=own_seeds)
    for clip in loader:
        if isinstance(clip, UserError):
            raise clip
        yield clip


@dataclass(frozen=True)
class _Reporting(Dataset[Clip | UserError]):
    """The user's faults travel as values: raised in a worker they would arrive wrapped in its traceback."""

    dataset: ClipDataset

    def __getitem__(self, plan: ClipPlan) -> Clip | UserError:
        try:
            return self.dataset[plan]
        except UserError as fault:
            return fault


def _collate(items: list[Clip | UserError]) -> Clip | UserError:
    for fault in items:
        if isinstance(fault, UserError):
            return fault
    clips = [item for item in items if isinstance(item, Clip)]
    for clip in clips:
        if _size(clip) != _size(clips[0]):
            return UserError(f"one batch holds {clips[0].names[0][0]} of {_size(clips[0])} and {clip.names[0][0]} of "
                             f"{_size(clip)}: use --batchSize 1, or a --resize_or_crop that makes them equal")
    return Clip.stack(clips)


def _size(clip: Clip) -> str:
    return f"{clip.condition.shape[-1]}x{clip.condition.shape[-2]}"


def _shown(geometry: Geometry, lead: Lead, clip: Clip) -> tuple[float, float, float, float]:
    """The part of the picture files that a clip shows: all of its geometry, or that one's middle columns (pose)."""
    left, top, right, bottom = geometry.shown(lead.size)
    width = clip.condition.shape[-1]
    first = (geometry.size[0] - width) // 2
    column = (right - left) / geometry.size[0]
    return left + first * column, top, left + (first + width) * column, bottom


def clip_of(maps: Collection[FrameMaps], names: Collection[str]) -> Clip:
    """One clip (B = 1) of T frames."""
    return Clip(_stacked([m.condition for m in maps]), _present([m.picture for m in maps]),
                _present([m.instance for m in maps]), names=(tuple(names),))


def _present(frames: Collection[Tensor | None]) -> Tensor | None:
    present = [frame for frame in frames if frame is not None]
    assert len(present) in (0, len(frames)), "a domain gives a map for every frame or for none"
    return _stacked(present) if present else None


def _stacked(frames: Collection[Tensor]) -> Tensor:
    """T frames (C, H, W) -> (1, T, C, H, W)."""
    return torch.stack(list(frames))[None]
