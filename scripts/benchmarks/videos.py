"""From a data set's files to a written video: as test.py goes, and as the plain way does, one thing after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path

from scripts.benchmarks import reference_implementation
from scripts.benchmarks.case import BenchmarkCase
from scripts.benchmarks.report import REFERENCE_NAME
from scripts.benchmarks.timing import time_interleaved
from util.clip import Clip
from util.images.visualization import tensor_to_image
from util.io.result_writer import OutputVideo, SequenceWriter, write_frames
from util.runtime.prefetch import prefetch

TARGET_VIDEO_SECONDS = 2.0  # that a video takes about: beginning and end are to be little of it
MIN_VIDEO_FRAMES, MAX_VIDEO_FRAMES = 3, 300  # frames of one
_STREAM_SUFFIXES = {"real_A": ".png", "fake_B": ".jpg", "real_B": ".jpg"}


def measure_video_fps(
    cases: Mapping[str, BenchmarkCase],
    frame_seconds: Mapping[str, float],
    rounds: int,
    folder: Path,
) -> dict[str, float]:
    """Frames a second, by way: `PLAIN`, or a precision of the program. frame_seconds: of the networks alone."""
    frames = {
        way: min(MAX_VIDEO_FRAMES, max(MIN_VIDEO_FRAMES, round(TARGET_VIDEO_SECONDS / seconds)))
        for way, seconds in frame_seconds.items()
    }
    ways = {
        way: partial(
            write_video_reference if way == REFERENCE_NAME else write_video_pipelined,
            cases[way],
            count,
            folder / way,
        )
        for way, count in frames.items()
    }
    taken = time_interleaved(ways, rounds, cases[REFERENCE_NAME].device, is_warm=True)
    return {way: frames[way] / found.median_seconds for way, found in taken.items()}


def iter_clips(case: BenchmarkCase, count: int) -> Iterator[Clip]:
    """What `count` generated frames need, from files, which begin again at their end."""
    (_, reader, _), *_ = case.open_sequences().sequences
    return islice(chain.from_iterable(repeat(reader)), count + case.options.n_frames_G - 1)


def write_video_reference(case: BenchmarkCase, count: int, folder: Path) -> Iterator[int]:
    """As `reference_implementation.test`."""
    frames = reference_implementation.reference_synthesize(
        case.networks, iter_clips(case, count), case.first_frames, case.synthesis, case.device
    )
    with SequenceWriter(folder, 25, _STREAM_SUFFIXES) as writer:
        for clip, image in frames:
            writer.write(
                Path(clip.names[0][0]).name,
                {
                    "real_A": case.frame_reader.condition_to_image(clip.condition[0, 0]),
                    "fake_B": tensor_to_image(image[0]),
                },
            )
    yield count


def write_video_pipelined(case: BenchmarkCase, count: int, folder: Path) -> Iterator[int]:
    """As test.py: files are read ahead and written behind."""
    frames = case.synthesizer.synthesize(prefetch(iter_clips(case, count)))
    with (
        SequenceWriter(folder, 25, _STREAM_SUFFIXES) as writer,
        OutputVideo(None, Fraction(25)) as output,
    ):
        write_frames(
            ((0, clip, image) for clip, image in frames),
            case.frame_reader.condition_to_image,
            [writer],
            output,
        )
    yield count
