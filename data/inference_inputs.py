"""What test.py turns into video: the sequences of a data set, somebody's video, or a pipe's frames."""

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

DEFAULT_FPS = Fraction(25)  # where nothing tells


@dataclass(frozen=True)
class InputConfig:
    """video: `--input`, None for the data set's sequences. size: of a pipe's frames. image: whether real images are
    asked for. start: first frame of the first sequence. count: frames that are wanted, at most. loop: begin again at
    the end."""

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
    """A sequence's frames to generate `count` of (fewer where a pipe ends before); None: as many as come."""

    name: str
    frames: Iterable[Clip]
    n_frames: int | None


@dataclass(frozen=True)
class InferenceInputs:
    """By their names: each sequence's clips (B = T = 1), and how many there are (None: a pipe does not say).
    rate, size, sound: of the video they came from, to give its like back. notes: what is to be said about it."""

    sequences: Sequence[tuple[str, Iterable[Clip], int | None]]
    fps: Fraction = DEFAULT_FPS
    size: tuple[int, int] | None = None
    audio_track: AudioTrack | None = None
    notes: Sequence[str] = ()

    def select_jobs(self, max_frames: float, n_history: int) -> list[SynthesisJob]:
        """The first sequences, with as many frames of each as make `how_many` of them all: fixed before anything is
        read, so that whoever takes which job, the same frames are made. n_given: frames before a sequence's first
        generated one."""
        jobs, left = [], max_frames
        for name, frames, length in self.sequences:
            if left == 0:
                break
            count = left if length is None else min(left, length - n_history)
            jobs.append(
                SynthesisJob(name, frames, None)
                if math.isinf(count)
                else SynthesisJob(name, islice(frames, int(count) + n_history), int(count))
            )
            left -= count
        return jobs


def batch_jobs(jobs: Sequence[SynthesisJob], batch_size: int) -> list[list[SynthesisJob]]:
    """The jobs that are done side by side: up to `most`, of like length, so that few wait for the longest."""
    ordered = (
        sorted(jobs, key=lambda job: job.n_frames or math.inf, reverse=True)
        if batch_size > 1
        else jobs
    )
    return [
        list(ordered[start : start + batch_size]) for start in range(0, len(ordered), batch_size)
    ]


def open_inference_inputs(
    config: InputConfig,
    frame_reader: FrameReader,
    transform_config: TransformConfig,
    n_history: int,
    work_dir: Path,
) -> InferenceInputs:
    """n_given: frames before the first generated one (tG-1). work: where a video's conditions are written.

    UserError: nothing there, nothing that this domain can read, or no more than the given frames."""
    if config.input_source == "-":
        assert config.pipe_size is not None, "the options' rules ask for it"
        known = (config.dataroot / PREPARE_CONFIG_FILE).is_file()
        maker = PrepareConfig.load(config.dataroot).extractor if known else None
        clips = stream_clips(
            read_rgb24_frames(sys.stdin.buffer, config.pipe_size),
            frame_reader,
            maker,
            transform_config,
        )
        return InferenceInputs([("stdin", clips, None)], size=config.pipe_size)
    if config.input_source is None:
        return InferenceInputs(
            list(
                _iter_sequences(config.dataroot, config, frame_reader, transform_config, n_history)
            )
        )
    path, recipe = Path(config.input_source), PrepareConfig.load(config.dataroot)
    footage = find_frame_sources(path)
    if len(footage) > 1:
        raise UserError(
            f"--input {path} holds {len(footage)} sequences: give one of them, or prepare them all with "
            "scripts/prepare.py"
        )
    root = work_dir / footage[0].name
    notes = prepare_input(
        footage[0], root, recipe, config.start_frame, config.max_frames + n_history
    )
    real_too = replace(config, uses_real_images=True)  # a video shows what is real
    readers = list(_iter_sequences(root, real_too, frame_reader, transform_config, n_history))
    if path.is_dir():
        return InferenceInputs(readers, notes=notes)
    about = probe_video(path)
    sound = (
        AudioTrack(path, float((config.start_frame + n_history) / about.fps))
        if about.has_audio and not config.should_loop
        else None
    )
    return InferenceInputs(readers, about.fps, about.size, sound, notes)


def _iter_sequences(
    root: Path,
    config: InputConfig,
    frame_reader: FrameReader,
    transform_config: TransformConfig,
    n_history: int,
) -> Iterator[tuple[str, Iterable[Clip], int | None]]:
    prepared = root != config.dataroot  # then the frames before `start` are not there
    sequences = find_sequences(
        root,
        "test" if prepared else config.phase,
        frame_reader.folder_specs(uses_images=config.uses_real_images),
        config.allow_links,
    )
    for number, sequence in enumerate(sequences[: int(min(config.max_sequences, len(sequences)))]):
        start = config.start_frame if number == 0 and not prepared else 0
        reader = SequenceReader(frame_reader, sequence, transform_config, start)
        if len(reader) <= n_history and not config.should_loop:
            raise UserError(
                f"{sequence.name} has {len(reader)} frames (from --start_frame on): the first that is "
                f"generated needs {n_history} before it, give at least {n_history + 1}, or --loop_input"
            )
        if config.should_loop:
            yield sequence.name, chain.from_iterable(repeat(reader)), None
        else:
            yield sequence.name, reader, len(reader)
