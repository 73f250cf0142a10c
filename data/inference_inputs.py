"""Open the inputs of test.py: the sequences of a data set, a video file, or frames from a pipe."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice, repeat
from pathlib import Path

from data.dataset import SequenceReader
from data.frame_reader import FrameReader
from data.frame_sources import find_frame_sources
from data.prepare.config import PREPARE_CONFIG_FILE, PrepareConfig, prepare_input
from data.sequences import find_sequences
from data.streaming import read_rgb24_frames, stream_clips
from data.transforms import TransformConfig
from util.clip import Clip
from util.errors import UserError
from util.io.video import AudioTrack, probe_video

DEFAULT_FPS = Fraction(25)  # for inputs without a frame rate

# Name, clips (B = T = 1) and number of clips of a sequence; None: unknown (pipe) or infinite (loop).
InputSequence = tuple[str, Iterable[Clip], int | None]


@dataclass(frozen=True)
class InputConfig:
    """Which input to open.

    Attributes:
        dataroot: root of the data set; with `input_source`, of the one that the run was trained on.
        phase: phase of the data set, for example `test`.
        input_source: `--input`: a video file, a folder of frames, or `-` for a pipe. None: the
            sequences of the data set.
        pipe_size: (w, h) of a pipe's frames.
        uses_real_images: whether real images are needed.
        start_frame: first frame of the first sequence.
        max_frames: upper bound of the generated frames.
        should_loop: whether to start again at the end, without end.
        max_sequences: upper bound of the sequences of the data set.
        allow_links: whether symbolic links may point out of the data root.
    """

    dataroot: Path
    phase: str
    input_source: str | None = None
    pipe_size: tuple[int, int] | None = None
    uses_real_images: bool = False
    start_frame: int = 0
    max_frames: float = float("inf")
    should_loop: bool = False
    max_sequences: float = float("inf")
    allow_links: bool = False


@dataclass(frozen=True)
class SynthesisJob:
    """One sequence to synthesize.

    Attributes:
        name: name of the sequence.
        frames: its clips (B = T = 1), history frames included.
        n_frames: number of frames to generate, or fewer if a pipe ends earlier; None: until the
            input ends.
    """

    name: str
    frames: Iterable[Clip]
    n_frames: int | None


@dataclass(frozen=True)
class InferenceInputs:
    """The sequences to synthesize, and properties of the video that they come from.

    Attributes:
        sequences: name, clips and number of clips of each sequence.
        fps: frame rate.
        size: (w, h) of the video's frames; None for a data set.
        audio_track: the video's sound; None if there is none or the input is looped.
        notes: messages for the user about how the input was prepared.
    """

    sequences: Sequence[InputSequence]
    fps: Fraction = DEFAULT_FPS
    size: tuple[int, int] | None = None
    audio_track: AudioTrack | None = None
    notes: Sequence[str] = ()

    def select_jobs(self, max_frames: float, n_history: int) -> list[SynthesisJob]:
        """Return the first sequences, so that at most `max_frames` frames are generated in total.

        The result does not depend on what is read, so processes that share the jobs agree on them.

        Args:
            max_frames: upper bound of the generated frames of all jobs together.
            n_history: number of frames before a sequence's first generated one.
        """
        jobs: list[SynthesisJob] = []
        remaining = max_frames
        for name, frames, length in self.sequences:
            if remaining == 0:
                break
            count = remaining if length is None else min(remaining, length - n_history)
            if math.isinf(count):
                job = SynthesisJob(name, frames, None)
            else:
                job = SynthesisJob(name, islice(frames, int(count) + n_history), int(count))
            jobs.append(job)
            remaining -= count
        return jobs


def batch_jobs(jobs: Sequence[SynthesisJob], batch_size: int) -> list[list[SynthesisJob]]:
    """Group the jobs that are synthesized together.

    Jobs are sorted by length if the batch size is more than 1: a batch takes as long as its longest.
    """
    if batch_size > 1:
        jobs = sorted(jobs, key=_job_length, reverse=True)
    return [list(jobs[start : start + batch_size]) for start in range(0, len(jobs), batch_size)]


def _job_length(job: SynthesisJob) -> float:
    return job.n_frames or math.inf


def open_inference_inputs(
    config: InputConfig,
    frame_reader: FrameReader,
    transform_config: TransformConfig,
    n_history: int,
    work_dir: Path,
) -> InferenceInputs:
    """Open the input; a video's conditions are computed and saved first.

    Args:
        config: which input to open.
        frame_reader: reader of the dataset mode.
        transform_config: resize and crop.
        n_history: number of frames before the first generated one, n_frames_G - 1.
        work_dir: folder to save a video's conditions in.

    Raises:
        UserError: the input is missing, does not fit the dataset mode, or has no more than
            `n_history` frames.
    """
    if config.input_source == "-":
        return _open_pipe(config, frame_reader, transform_config)
    if config.input_source is None:
        sequences = _iter_sequences(
            config.dataroot, config, frame_reader, transform_config, n_history
        )
        return InferenceInputs(list(sequences))
    return _open_video(
        Path(config.input_source), config, frame_reader, transform_config, n_history, work_dir
    )


def _open_pipe(
    config: InputConfig, frame_reader: FrameReader, transform_config: TransformConfig
) -> InferenceInputs:
    assert config.pipe_size is not None, "option validation requires --input_size with --input -"
    extractor = None  # without a preparation, the piped images are conditions
    if (config.dataroot / PREPARE_CONFIG_FILE).is_file():
        extractor = PrepareConfig.load(config.dataroot).extractor
    images = read_rgb24_frames(sys.stdin.buffer, config.pipe_size)
    clips = stream_clips(images, frame_reader, extractor, transform_config)
    return InferenceInputs([("stdin", clips, None)], size=config.pipe_size)


def _open_video(
    path: Path,
    config: InputConfig,
    frame_reader: FrameReader,
    transform_config: TransformConfig,
    n_history: int,
    work_dir: Path,
) -> InferenceInputs:
    """Prepare a video file or folder of frames as the training data was, then open the result."""
    prepare_config = PrepareConfig.load(config.dataroot)
    sources = find_frame_sources(path)
    if len(sources) > 1:
        raise UserError(
            f"--input {path} holds {len(sources)} sequences: give one of them, or prepare them all with "
            "scripts/prepare.py"
        )
    (source,) = sources
    root = work_dir / source.name
    notes = prepare_input(
        source, root, prepare_config, config.start_frame, config.max_frames + n_history
    )
    config = replace(config, uses_real_images=True)  # the video's frames are the real images
    sequences = list(_iter_sequences(root, config, frame_reader, transform_config, n_history))
    if path.is_dir():
        return InferenceInputs(sequences, notes=notes)
    info = probe_video(path)
    audio_track = None
    if info.has_audio and not config.should_loop:
        first_generated = config.start_frame + n_history
        audio_track = AudioTrack(path, float(first_generated / info.fps))
    return InferenceInputs(sequences, info.fps, info.size, audio_track, notes)


def _iter_sequences(
    root: Path,
    config: InputConfig,
    frame_reader: FrameReader,
    transform_config: TransformConfig,
    n_history: int,
) -> Iterator[InputSequence]:
    # A prepared video is saved from `start_frame` on, under the phase `test`.
    is_prepared = root != config.dataroot
    sequences = find_sequences(
        root,
        "test" if is_prepared else config.phase,
        frame_reader.folder_specs(uses_images=config.uses_real_images),
        config.allow_links,
    )
    n_sequences = int(min(config.max_sequences, len(sequences)))
    for number, sequence in enumerate(sequences[:n_sequences]):
        start = config.start_frame if number == 0 and not is_prepared else 0
        reader = SequenceReader(frame_reader, sequence, transform_config, start)
        if config.should_loop:
            yield sequence.name, chain.from_iterable(repeat(reader)), None
            continue
        if len(reader) <= n_history:
            raise UserError(
                f"{sequence.name} has {len(reader)} frames (from --start_frame on); the first generated frame "
                f"needs {n_history} frames before it: give at least {n_history + 1}, or --loop_input"
            )
        yield sequence.name, reader, len(reader)
