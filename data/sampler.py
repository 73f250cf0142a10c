"""Which frames make a clip, and which clips an epoch: pure functions of lengths, epoch and seed (SPEC 2 and 13)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, inf

import numpy as np

from util.errors import UserError


@dataclass(frozen=True)
class SamplerConfig:
    """n_frames_G: frames that the generator sees; a clip carries n_frames_G - 1 before the first generated one.
    max_frames_per_gpu, n_gpus_gen: their product bounds the frames of a window (n_gpus_gen: g of SPEC 2, so 1 unless
        batch_size is 1).
    max_t_step: largest spacing of a clip's frames.
    max_clips: bounds the clips of an epoch (`max_dataset_size`).
    clips_per_epoch: replaces the published count; sequences then take turns, in a new order each round.
    serial: sequences in order instead of shuffled.
    per_start_frame: an epoch has a clip for every possible start frame (pose), not one for every sequence.
    """

    n_frames_G: int = 3
    max_frames_per_gpu: int = 1
    n_gpus_gen: int = 1
    max_t_step: int = 1
    batch_size: int = 1
    max_clips: float = inf
    clips_per_epoch: int | None = None
    serial_batches: bool = False
    uses_every_start_frame: bool = False
    seed: int = 0


@dataclass(frozen=True)
class ClipPlan:
    """One clip of a training batch: which frames of which sequence, oldest first.

    load: generated frames per window. seed: of all that is drawn while the clip is read (geometry, noise).
    """

    sequence: int
    frames: tuple[int, ...]
    window_size: int
    seed: tuple[int, ...]


def check_sequence_lengths(names: Sequence[str], lengths: Sequence[int], n_frames_G: int) -> None:
    """UserError for a sequence from which no clip can be cut."""
    for name, length in zip(names, lengths, strict=True):
        if length < n_frames_G:
            raise UserError(
                f"sequence {name} has {length} frames; --n_frames_G {n_frames_G} needs at least as many: "
                "remove the sequence or add frames"
            )


def compute_clip_length(length: int, config: SamplerConfig, n_frames_total: int) -> tuple[int, int]:
    """(load, frames read) of a clip from a sequence of `length` frames, while clips of `n_frames_total` are due."""
    history = config.n_frames_G - 1
    total = min(n_frames_total, length - history)
    load = min(total, config.max_frames_per_gpu * config.n_gpus_gen)
    return load, load * (total // load) + history


def plan_epoch(
    lengths: Sequence[int], config: SamplerConfig, n_frames_total: int, epoch: int
) -> list[list[ClipPlan]]:
    """The batches of an epoch, all of `batch_size` clips: at least one, a short last one left out.

    lengths: of the sequences, each at least n_frames_G. n_frames_total: clip length that the schedule has reached.
    The same arguments always give the same plan.
    """
    assert min(lengths) >= config.n_frames_G and config.max_clips >= 1
    rng = np.random.default_rng([config.seed, epoch, 0])
    clips = _clip_indices(lengths, config, rng)
    starts = range(0, len(clips), config.batch_size)
    return [
        _plan_batch(
            clips[i : i + config.batch_size], i, lengths, config, n_frames_total, epoch, rng
        )
        for i in starts
    ]


def _clip_indices(
    lengths: Sequence[int], config: SamplerConfig, rng: np.random.Generator
) -> list[int]:
    """Numbers below the count of clips in the order of training, a whole number of batches of them.

    Where there are fewer clips than one batch holds, they take turns (each time with other frames)."""
    count = (
        sum(_count_start_frames(lengths, config)) if config.uses_every_start_frame else len(lengths)
    )
    bound = int(min(config.clips_per_epoch or count, config.max_clips))
    rounds = [
        np.arange(count) if config.serial_batches else rng.permutation(count)
        for _ in range(ceil(bound / count))
    ]
    order = np.concatenate(rounds)[:bound].tolist()
    steps = max(1, bound // config.batch_size)
    return [order[i % bound] for i in range(steps * config.batch_size)]


def _count_start_frames(lengths: Sequence[int], config: SamplerConfig) -> list[int]:
    return [length - config.n_frames_G + 1 for length in lengths]


def _plan_batch(
    clips: Sequence[int],
    position: int,
    lengths: Sequence[int],
    config: SamplerConfig,
    n_frames_total: int,
    epoch: int,
    rng: np.random.Generator,
) -> list[ClipPlan]:
    """position: of the batch's first clip in the epoch. All clips get the length that the shortest sequence allows."""
    sequences = [_choose_sequence(clip, lengths, config, rng) for clip in clips]
    load, total = compute_clip_length(min(lengths[s] for s in sequences), config, n_frames_total)
    return [
        ClipPlan(
            sequence,
            _choose_frames(clip, lengths[sequence], total, config, rng),
            load,
            seed=(config.seed, epoch, 1 + position + i),
        )
        for i, (clip, sequence) in enumerate(zip(clips, sequences, strict=True))
    ]


def _choose_sequence(
    clip: int, lengths: Sequence[int], config: SamplerConfig, rng: np.random.Generator
) -> int:
    """Pose draws the sequence in proportion to its length; in serial order it is the one that holds the start."""
    if not config.uses_every_start_frame:
        return clip
    if config.serial_batches:
        counts = list(accumulate(_count_start_frames(lengths, config)))
        return bisect_right(counts, clip)
    return int(rng.choice(len(lengths), p=np.divide(lengths, sum(lengths))))


def _choose_frames(
    clip: int, length: int, n_frames: int, config: SamplerConfig, rng: np.random.Generator
) -> tuple[int, ...]:
    """`total` frames with a random spacing, from a random start (pose: one that follows from the clip's number)."""
    widest = min(config.max_t_step, (length - 1) // max(1, n_frames - 1))
    t_step = int(rng.integers(1, widest, endpoint=True))
    last_start = length - 1 - (n_frames - 1) * t_step
    start = (
        clip % (last_start + 1)
        if config.uses_every_start_frame
        else int(rng.integers(0, last_start, endpoint=True))
    )
    return tuple(range(start, start + n_frames * t_step, t_step))
