"""Read clips: random access by plan for training, frame by frame in constant memory for test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from data.frame_reader import FrameReader, FrameSample
from data.sampler import ClipPlan
from data.sequences import FrameSequence
from data.transforms import FrameTransform, ReferenceFrame, TransformConfig, sample_transform
from util.clip import Clip, ClipSource
from util.errors import UserError
from util.images.normalization import PixelNormalization


@dataclass(frozen=True)
class ClipDataset:
    """Training clips: a map-style dataset whose keys are `ClipPlan`s.

    It has no state: the same plan gives the same clip in every process.

    Attributes:
        frame_reader: reader of the dataset mode.
        sequences: the sequences that plans refer to by index.
        transform_config: resize, crop and flip.
        add_flow: function that adds flow to a clip in the loader's worker. Must be picklable.
    """

    frame_reader: FrameReader
    sequences: Sequence[FrameSequence]
    transform_config: TransformConfig
    add_flow: Callable[[Clip], Clip] | None = None

    def __getitem__(self, plan: ClipPlan) -> Clip:
        """Read the clip (B = 1) of a plan."""
        # One generator for all random draws: first the transform, then the frames in their order.
        rng = np.random.default_rng(plan.seed)
        sequence = self.sequences[plan.sequence]
        paths = [sequence.paths(frame) for frame in plan.frames]
        reference = self.frame_reader.read_reference_frame(paths[0], is_train=True)
        transform = sample_transform(reference, self.transform_config, rng)
        samples = [self.frame_reader.read_frame(files, transform, rng) for files in paths]
        names = [sequence.frame_name(frame) for frame in plan.frames]
        clip = make_clip(samples, names, self.frame_reader.normalization)
        clip = replace(clip, window_size=plan.window_size)
        if self.add_flow is None:
            return clip
        source = ClipSource(
            files=tuple(files["image"] for files in paths),
            box=_visible_region(transform, reference, clip),
            is_flipped=transform.is_flipped,
        )
        clip = self.add_flow(replace(clip, source=source))
        return replace(clip, source=None)  # a batch has no single source

    def describe_files(self, plan: ClipPlan) -> str:
        """Return the first and last file of a clip in each folder, for messages."""
        sequence = self.sequences[plan.sequence]
        first, last = sequence.paths(plan.frames[0]), sequence.paths(plan.frames[-1])
        return ", ".join(f"{first[key]} to {last[key].name}" for key in first)


@dataclass(frozen=True)
class SequenceReader:
    """Iterates over the frames of a test sequence, each a clip with B = T = 1.

    A frame is read when it is requested. The transform is computed once, from the frame at `start`.
    A clip has the real image if the sequence has image files.

    Attributes:
        frame_reader: reader of the dataset mode.
        sequence: the sequence to read.
        transform_config: resize and crop.
        start: index of the first frame.
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
        first_paths = self.sequence.paths(self.start)
        reference = self.frame_reader.read_reference_frame(first_paths, is_train=False)
        transform = sample_transform(reference, self.transform_config, rng=None)
        for frame in range(self.start, len(self.sequence)):
            paths = self.sequence.paths(frame)
            sample = self.frame_reader.read_frame(paths, transform, rng=None)
            name = self.sequence.frame_name(frame)
            yield make_clip([sample], [name], self.frame_reader.normalization)


def iter_evenly_spaced_frames(
    frame_reader: FrameReader,
    sequences: Sequence[FrameSequence],
    transform_config: TransformConfig,
    max_frames: int,
) -> Iterator[Clip]:
    """Yield at most `max_frames` frames, spaced evenly over all sequences, as clips with B = T = 1.

    Each frame is read as in test, with a transform computed from itself.
    """
    frames = [(sequence, frame) for sequence in sequences for frame in range(len(sequence))]
    count = min(max_frames, len(frames))
    for i in range(count):
        sequence, frame = frames[i * len(frames) // count]
        reader = SequenceReader(frame_reader, sequence, transform_config, start=frame)
        yield next(iter(reader))


def make_clip(
    samples: Sequence[FrameSample],
    names: Sequence[str],
    normalization: PixelNormalization | None,
) -> Clip:
    """Stack T frames into a clip with B = 1.

    Args:
        samples: the frames, oldest first.
        names: the name of each frame, `SEQUENCE/STEM`.
        normalization: `FrameReader.normalization` of the reader that made the samples.
    """
    return Clip(
        _stack_frames([sample.condition for sample in samples]),
        _stack_if_present([sample.image for sample in samples]),
        _stack_if_present([sample.instance for sample in samples]),
        names=(tuple(names),),
        normalization=normalization,
    )


def _stack_if_present(frames: Sequence[Tensor | None]) -> Tensor | None:
    present = [frame for frame in frames if frame is not None]
    assert len(present) in (0, len(frames)), "a reader returns a map for all frames or for none"
    return _stack_frames(present) if present else None


def _stack_frames(frames: Sequence[Tensor]) -> Tensor:
    """Stack T frames (C, H, W) into (1, T, C, H, W)."""
    return torch.stack(list(frames))[None]


def _visible_region(
    transform: FrameTransform, reference: ReferenceFrame, clip: Clip
) -> tuple[float, float, float, float]:
    """Return the region (left, top, right, bottom) of the image files that the clip shows.

    A reader may keep only the middle columns of the transformed frames (pose mode does).
    """
    left, top, right, bottom = transform.visible_region(reference.size)
    output_width = transform.output_size[0]
    clip_width = clip.condition.shape[-1]
    first_column = (output_width - clip_width) // 2
    column_width = (right - left) / output_width  # in pixels of the files
    return (
        left + first_column * column_width,
        top,
        left + (first_column + clip_width) * column_width,
        bottom,
    )
