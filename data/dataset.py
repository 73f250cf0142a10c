"""Clips for training (planned, random, by workers) and for test (frame by frame, in constant memory)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from data.frame_reader import FrameReader, FrameSample, ReferenceFrame
from data.sampler import ClipPlan
from data.sequences import FrameSequence
from data.transforms import FrameTransform, TransformConfig, sample_transform
from util.clip import Clip, ClipSource
from util.errors import UserError
from util.images.normalization import PixelNormalization


@dataclass(frozen=True)
class ClipDataset:
    """Training clips. Map-style with plans for keys, and stateless: a plan always gives the same clip, whoever asks.

    annotate: what the worker adds to a clip before it is handed over (such as its flow); must be picklable.
    """

    frame_reader: FrameReader
    sequences: Collection[FrameSequence]
    transform_config: TransformConfig
    add_flow: Callable[[Clip], Clip] | None = None

    def __getitem__(self, plan: ClipPlan) -> Clip:
        """The clip with B = 1. Geometry first, then frame after frame draw from one generator of the plan's seed."""
        rng = np.random.default_rng(plan.seed)
        sequence = self.sequences[plan.sequence]
        lead = self.frame_reader.read_reference_frame(sequence.paths(plan.frames[0]), is_train=True)
        geometry = sample_transform(lead, self.transform_config, rng)
        maps = [
            self.frame_reader.read_frame(sequence.paths(frame), geometry, rng)
            for frame in plan.frames
        ]
        names = [sequence.frame_name(frame) for frame in plan.frames]
        clip = replace(
            make_clip(maps, names, self.frame_reader.normalization), window_size=plan.window_size
        )
        if self.add_flow is None:
            return clip
        files = tuple(sequence.paths(frame)["image"] for frame in plan.frames)
        source = ClipSource(files, _visible_region(geometry, lead, clip), geometry.is_flipped)
        return replace(self.add_flow(replace(clip, source=source)), source=None)

    def describe_files(self, plan: ClipPlan) -> str:
        """First and last file that a clip is read from, in each folder, for people."""
        sequence = self.sequences[plan.sequence]
        first, last = sequence.paths(plan.frames[0]), sequence.paths(plan.frames[-1])
        return ", ".join(f"{first[stream]} to {last[stream].name}" for stream in first)


@dataclass(frozen=True)
class SequenceReader:
    """The frames of a test sequence from `start` on, each a clip with B = T = 1, read when it is asked for.

    The geometry is planned once, from the frame at `start`. Clips carry the real image where its stream is read.
    """

    frame_reader: FrameReader
    sequence: FrameSequence
    transform_config: TransformConfig
    start: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start < len(self.sequence):
            raise UserError(
                f"--start_frame {self.start}: sequence {self.sequence.name} has frames "
                f"0..{len(self.sequence) - 1}"
            )

    def __len__(self) -> int:
        return len(self.sequence) - self.start

    def __iter__(self) -> Iterator[Clip]:
        geometry = sample_transform(
            self.frame_reader.read_reference_frame(self.sequence.paths(self.start), is_train=False),
            self.transform_config,
            None,
        )
        for frame in range(self.start, len(self.sequence)):
            yield make_clip(
                [self.frame_reader.read_frame(self.sequence.paths(frame), geometry, None)],
                [self.sequence.frame_name(frame)],
                self.frame_reader.normalization,
            )


def iter_evenly_spaced_frames(
    frame_reader: FrameReader,
    sequences: Collection[FrameSequence],
    transform_config: TransformConfig,
    max_frames: int,
) -> Iterator[Clip]:
    """At most `most` frames, evenly over all sequences, each with its image and read as in test, by itself."""
    frames = [(sequence, frame) for sequence in sequences for frame in range(len(sequence))]
    count = min(max_frames, len(frames))
    for sequence, frame in (frames[i * len(frames) // count] for i in range(count)):
        yield next(iter(SequenceReader(frame_reader, sequence, transform_config, start=frame)))


def _visible_region(
    transform: FrameTransform, reference: ReferenceFrame, clip: Clip
) -> tuple[float, float, float, float]:
    """The part of the image files that a clip shows: all of its geometry, or that one's middle columns (pose)."""
    left, top, right, bottom = transform.visible_region(reference.size)
    width = clip.condition.shape[-1]
    first = (transform.output_size[0] - width) // 2
    column = (right - left) / transform.output_size[0]
    return left + first * column, top, left + (first + width) * column, bottom


def make_clip(
    samples: Collection[FrameSample],
    names: Collection[str],
    normalization: PixelNormalization | None,
) -> Clip:
    """One clip (B = 1) of T frames. levels: of the domain that read them."""
    return Clip(
        _stack_frames([m.condition for m in samples]),
        _stack_if_present([m.image for m in samples]),
        _stack_if_present([m.instance for m in samples]),
        names=(tuple(names),),
        normalization=normalization,
    )


def _stack_if_present(frames: Collection[Tensor | None]) -> Tensor | None:
    present = [frame for frame in frames if frame is not None]
    assert len(present) in (0, len(frames)), "a domain gives a map for every frame or for none"
    return _stack_frames(present) if present else None


def _stack_frames(frames: Collection[Tensor]) -> Tensor:
    """T frames (C, H, W) -> (1, T, C, H, W)."""
    return torch.stack(list(frames))[None]
