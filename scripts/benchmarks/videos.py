"""Speed from a data set's files to a written video, of test.py and of the reference implementation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path

from scripts.benchmarks.case import BenchmarkCase
from scripts.benchmarks.reference_implementation import reference_synthesize
from scripts.benchmarks.report import REFERENCE_NAME
from scripts.benchmarks.timing import Workload, time_interleaved
from util.clip import Clip
from util.images.visualization import tensor_to_image
from util.io.result_writer import OutputVideo, SequenceWriter, write_frames
from util.runtime.prefetch import prefetch

TARGET_VIDEO_SECONDS = 2.0  # of computation per video, so that start and end matter little
MIN_VIDEO_FRAMES = 3
MAX_VIDEO_FRAMES = 300
STREAM_SUFFIXES = {"real_A": ".png", "fake_B": ".jpg", "real_B": ".jpg"}


def measure_video_fps(
    cases: Mapping[str, BenchmarkCase],
    frame_seconds: Mapping[str, float],
    rounds: int,
    folder: Path,
) -> dict[str, float]:
    """Return the frames per second from files to videos, by name.

    Args:
        cases: The reference implementation under `REFERENCE_NAME`, and precisions of the program.
        frame_seconds: Seconds that the networks alone take for a frame, by name.
        rounds: Rounds of each.
        folder: Where the videos are written.
    """
    n_frames = {name: _choose_n_frames(seconds) for name, seconds in frame_seconds.items()}
    workloads: dict[str, Workload] = {}
    for name, count in n_frames.items():
        write = write_video_reference if name == REFERENCE_NAME else write_video_pipelined
        workloads[name] = partial(write, cases[name], count, folder / name)
    device = cases[REFERENCE_NAME].device
    timings = time_interleaved(workloads, rounds, device, is_warm=True)
    return {name: n_frames[name] / timing.median_seconds for name, timing in timings.items()}


def _choose_n_frames(seconds_per_frame: float) -> int:
    n_frames = round(TARGET_VIDEO_SECONDS / seconds_per_frame)
    return min(MAX_VIDEO_FRAMES, max(MIN_VIDEO_FRAMES, n_frames))


def iter_clips(case: BenchmarkCase, n_frames: int) -> Iterator[Clip]:
    """Read the clips of `n_frames` generated frames; a sequence is repeated from its start."""
    (_, reader, _), *_ = case.open_sequences().sequences
    return islice(chain.from_iterable(repeat(reader)), n_frames + case.options.n_frames_G - 1)


def write_video_reference(case: BenchmarkCase, n_frames: int, folder: Path) -> Iterator[int]:
    """Read, generate and write one frame after the other, then yield `n_frames` once."""
    frames = reference_synthesize(
        case.networks, iter_clips(case, n_frames), case.first_frames, case.synthesis, case.device
    )
    with SequenceWriter(folder, 25, STREAM_SUFFIXES) as writer:
        for clip, image in frames:
            condition = case.frame_reader.condition_to_image(clip.condition[0, 0])
            images = {"real_A": condition, "fake_B": tensor_to_image(image[0])}
            writer.write(Path(clip.names[0][0]).name, images)
    yield n_frames


def write_video_pipelined(case: BenchmarkCase, n_frames: int, folder: Path) -> Iterator[int]:
    """Read ahead and write in the background, as test.py does, then yield `n_frames` once."""
    clips = prefetch(iter_clips(case, n_frames))
    frames = case.synthesizer.synthesize(clips)
    with (
        SequenceWriter(folder, 25, STREAM_SUFFIXES) as writer,
        OutputVideo(None, Fraction(25)) as output,
    ):
        numbered = ((0, clip, image) for clip, image in frames)
        write_frames(numbered, case.frame_reader.condition_to_image, [writer], output)
    yield n_frames
