"""What test.py turns into video: the sequences of a data set, somebody's video, or a pipe's frames."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice, repeat
from pathlib import Path

from data.clips import SequenceReader
from data.domain import Domain
from data.footage import find_footage
from data.geometry import GeometryConfig
from data.live import live_clips, raw_frames
from data.prepare.recipe import FILE, Recipe, prepare_input
from data.sequences import find_sequences
from util.clip import Clip
from util.errors import UserError
from util.video import Sound, probe

RATE = Fraction(25)  # where nothing tells


@dataclass(frozen=True)
class InputConfig:
    """video: `--input`, None for the data set's sequences. size: of a pipe's frames. picture: whether real pictures are
    asked for. start: first frame of the first sequence. count: frames that are wanted, at most. loop: begin again at
    the end."""

    dataroot: Path
    phase: str
    video: str | None = None
    size: tuple[int, int] | None = None
    picture: bool = False
    start: int = 0
    count: float = float("inf")
    loop: bool = False
    max_sequences: float = float("inf")
    allow_links: bool = False


@dataclass(frozen=True)
class Job:
    """A sequence's frames to generate `count` of (fewer where a pipe ends before); None: as many as come."""

    name: str
    frames: Iterable[Clip]
    count: int | None


@dataclass(frozen=True)
class Readers:
    """By their names: each sequence's clips (B = T = 1), and how many there are (None: a pipe does not say).
    rate, size, sound: of the video they came from, to give its like back. notes: what is to be said about it."""

    sequences: Sequence[tuple[str, Iterable[Clip], int | None]]
    rate: Fraction = RATE
    size: tuple[int, int] | None = None
    sound: Sound | None = None
    notes: Sequence[str] = ()

    def jobs(self, how_many: float, n_given: int) -> list[Job]:
        """The first sequences, with as many frames of each as make `how_many` of them all: fixed before anything is
        read, so that whoever takes which job, the same frames are made. n_given: frames before a sequence's first
        generated one."""
        jobs, left = [], how_many
        for name, frames, length in self.sequences:
            if left == 0:
                break
            count = left if length is None else min(left, length - n_given)
            jobs.append(Job(name, frames, None) if math.isinf(count) else
                        Job(name, islice(frames, int(count) + n_given), int(count)))
            left -= count
        return jobs


def at_once(jobs: Sequence[Job], most: int) -> list[list[Job]]:
    """The jobs that are done side by side: up to `most`, of like length, so that few wait for the longest."""
    ordered = sorted(jobs, key=lambda job: job.count or math.inf, reverse=True) if most > 1 else jobs
    return [list(ordered[start:start + most]) for start in range(0, len(ordered), most)]


def open_input(config: InputConfig, domain: Domain, geometry: GeometryConfig, n_given: int, work: Path) -> Readers:
    """n_given: frames before the first generated one (tG-1). work: where a video's conditions are written.

    UserError: nothing there, nothing that this domain can read, or no more than the given frames."""
    if config.video == "-":
        assert config.size is not None, "the options' rules ask for it"
        known = (config.dataroot / FILE).is_file()
        maker = Recipe.load(config.dataroot).maker if known else None
        clips = live_clips(raw_frames(sys.stdin.buffer, config.size), domain, maker, geometry)
        return Readers([("stdin", clips, None)], size=config.size)
    if config.video is None:
        return Readers(list(_readers(config.dataroot, config, domain, geometry, n_given)))
    path, recipe = Path(config.video), Recipe.load(config.dataroot)
    footage = find_footage(path)
    if len(footage) > 1:
        raise UserError(f"--input {path} holds {len(footage)} sequences: give one of them, or prepare them all with "
                        "scripts/prepare.py")
    root = work / footage[0].name
    notes = prepare_input(footage[0], root, recipe, config.start, config.count + n_given)
    real_too = replace(config, picture=True)  # a video shows what is real
    readers = list(_readers(root, real_too, domain, geometry, n_given))
    if path.is_dir():
        return Readers(readers, notes=notes)
    about = probe(path)
    sound = Sound(path, float((config.start + n_given) / about.rate)) if about.has_audio and not config.loop else None
    return Readers(readers, about.rate, about.size, sound, notes)


def _readers(root: Path, config: InputConfig, domain: Domain, geometry: GeometryConfig,
             n_given: int) -> Iterator[tuple[str, Iterable[Clip], int | None]]:
    prepared = root != config.dataroot  # then the frames before `start` are not there
    sequences = find_sequences(root, "test" if prepared else config.phase, domain.streams(picture=config.picture),
                               config.allow_links)
    for number, sequence in enumerate(sequences[:int(min(config.max_sequences, len(sequences)))]):
        start = config.start if number == 0 and not prepared else 0
        reader = SequenceReader(domain, sequence, geometry, start)
        if len(reader) <= n_given and not config.loop:
            raise UserError(f"{sequence.name} has {len(reader)} frames (from --start_frame on): the first that is "
                            f"generated needs {n_given} before it, give at least {n_given + 1}, or --loop")
        if config.loop:
            yield sequence.name, chain.from_iterable(repeat(reader)), None
        else:
            yield sequence.name, reader, len(reader)
