"""From a data set's files to a written video: as test.py goes, and as the plain way does, one thing after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path

from models.synthesis import synthesise
from scripts import plain_way
from scripts.benchmark.clock import in_turn
from scripts.benchmark.report import PLAIN
from scripts.benchmark.subject import Subject
from util.clip import Clip
from util.pictures import to_uint8
from util.pipeline import ahead
from util.results import OutputVideo, SequenceWriter, write_frames

SECONDS = 2.0  # that a video takes about: beginning and end are to be little of it
LEAST, MOST = 3, 300  # frames of one
SUFFIXES = {"real_A": ".png", "fake_B": ".jpg", "real_B": ".jpg"}


def measure_videos(subjects: Mapping[str, Subject], frame_seconds: Mapping[str, float], rounds: int,
                   folder: Path) -> dict[str, float]:
    """Frames a second, by way: `PLAIN`, or a precision of the program. frame_seconds: of the networks alone."""
    frames = {way: min(MOST, max(LEAST, round(SECONDS / seconds))) for way, seconds in frame_seconds.items()}
    ways = {way: partial(plain_video if way == PLAIN else own_video, subjects[way], count, folder / way)
            for way, count in frames.items()}
    taken = in_turn(ways, rounds, subjects[PLAIN].device, warm=True)
    return {way: frames[way] / found.typical for way, found in taken.items()}


def read(subject: Subject, count: int) -> Iterator[Clip]:
    """What `count` generated frames need, from files, which begin again at their end."""
    (_, reader, _), *_ = subject.readers().sequences
    return islice(chain.from_iterable(repeat(reader)), count + subject.options.n_frames_G - 1)


def plain_video(subject: Subject, count: int, folder: Path) -> Iterator[int]:
    """As `plain_way.test`."""
    frames = plain_way.synthesise(subject.networks, read(subject, count), subject.first, subject.synthesis,
                                  subject.device)
    with SequenceWriter(folder, 25, SUFFIXES) as writer:
        for clip, picture in frames:
            writer.write(Path(clip.names[0][0]).name, {
                "real_A": subject.domain.show(clip.condition[0, 0]), "fake_B": to_uint8(picture[0])})
    yield count


def own_video(subject: Subject, count: int, folder: Path) -> Iterator[int]:
    """As test.py: files are read ahead and written behind."""
    frames = synthesise(subject.networks, ahead(read(subject, count)), subject.first, subject.synthesis,
                        subject.device)
    with SequenceWriter(folder, 25, SUFFIXES) as writer, OutputVideo(None, Fraction(25)) as output:
        write_frames(((0, clip, picture) for clip, picture in frames), subject.domain.show, [writer], output)
    yield count
