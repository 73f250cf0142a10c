"""Choose the frames of a clip and the clips of an epoch, as pure functions of lengths, epoch and seed."""

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
    """How clips are sampled.

    Attributes:
        n_frames_G: frames that the generator takes. A clip starts with n_frames_G - 1 history frames.
        max_frames_per_gpu: largest number of frames generated per window on one GPU.
        n_gpus_gen: number of GPUs that share a window's frames; 1 unless the batch size is 1.
        max_t_step: largest spacing of a clip's frames in the sequence.
        batch_size: clips per batch, over all processes.
        max_clips: upper bound of the clips of an epoch (`--max_dataset_size`).
        clips_per_epoch: clips of an epoch instead of the published number. Sequences are then used
            in rounds, each in a new order.
        serial_batches: whether sequences are used in order instead of shuffled.
        uses_every_start_frame: whether an epoch has one clip per possible start frame (pose)
            instead of one per sequence.
        seed: seed of all random draws.
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
    """One clip of a training batch.

    Attributes:
        sequence: index of the sequence.
        frames: indices of the frames, oldest first.
        window_size: number of frames generated per training window.
        seed: seed of the random draws made when the clip is read (transform, augmentation).
    """

    sequence: int
    frames: tuple[int, ...]
    window_size: int
    seed: tuple[int, ...]


def check_sequence_lengths(names: Sequence[str], lengths: Sequence[int], n_frames_G: int) -> None:
    """Raise UserError if a sequence has fewer frames than the generator takes."""
    for name, length in zip(names, lengths, strict=True):
        if length < n_frames_G:
            raise UserError(
                f"sequence {name} has {length} frames; --n_frames_G {n_frames_G} needs at least as many: "
                "remove the sequence or add frames"
            )


def compute_clip_length(length: int, config: SamplerConfig, n_frames_total: int) -> tuple[int, int]:
    """Return (window_size, number of frames) of a clip.

    Args:
        length: frames of the sequence.
        config: sampling options.
        n_frames_total: frames to generate per clip at this point of the training schedule.
    """
    n_history = config.n_frames_G - 1
    n_generated = min(n_frames_total, length - n_history)
    window_size = min(n_generated, config.max_frames_per_gpu * config.n_gpus_gen)
    # as published: only whole windows are trained; the remainder of the frames is not read.
    n_windows = n_generated // window_size
    return window_size, window_size * n_windows + n_history


def plan_epoch(
    lengths: Sequence[int], config: SamplerConfig, n_frames_total: int, epoch: int
) -> list[list[ClipPlan]]:
    """Return the batches of an epoch, each of `batch_size` clips.

    There is at least one batch. Clips that do not fill a last batch are left out, as published. The
    same arguments always give the same result.

    Args:
        lengths: number of frames of each sequence, at least n_frames_G.
        config: sampling options.
        n_frames_total: frames to generate per clip at this point of the training schedule.
        epoch: number of the epoch.
    """
    assert min(lengths) >= config.n_frames_G and config.max_clips >= 1
    # The order of the random draws is fixed: order of the clips, then per batch the sequences of its
    # clips, then the frames of its clips.
    rng = np.random.default_rng([config.seed, epoch, 0])
    clips = _clip_indices(lengths, config, rng)
    return [
        _plan_batch(
            clips[start : start + config.batch_size],
            start,
            lengths,
            config,
            n_frames_total,
            epoch,
            rng,
        )
        for start in range(0, len(clips), config.batch_size)
    ]


def _clip_indices(
    lengths: Sequence[int], config: SamplerConfig, rng: np.random.Generator
) -> list[int]:
    """Return the indices of the epoch's clips in training order, a whole number of batches.

    If there are fewer clips than a batch holds, they are repeated to fill it, with new random frames.
    """
    start_frames = _count_start_frames(lengths, config)
    count = sum(start_frames) if config.uses_every_start_frame else len(lengths)
    n_clips = int(min(config.clips_per_epoch or count, config.max_clips))
    rounds = [
        np.arange(count) if config.serial_batches else rng.permutation(count)
        for _ in range(ceil(n_clips / count))
    ]
    order = np.concatenate(rounds)[:n_clips].tolist()
    n_batches = max(1, n_clips // config.batch_size)
    return [order[i % n_clips] for i in range(n_batches * config.batch_size)]


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
    """Return the plans of a batch, all of the length that its shortest sequence allows.

    Args:
        clips: indices of the clips.
        position: position of the first of them in the epoch.
        lengths: number of frames of each sequence.
        config: sampling options.
        n_frames_total: frames to generate per clip.
        epoch: number of the epoch.
        rng: random generator of the epoch.
    """
    sequences = [_choose_sequence(clip, lengths, config, rng) for clip in clips]
    shortest = min(lengths[sequence] for sequence in sequences)
    window_size, n_frames = compute_clip_length(shortest, config, n_frames_total)
    plans = []
    for i, (clip, sequence) in enumerate(zip(clips, sequences, strict=True)):
        frames = _choose_frames(clip, lengths[sequence], n_frames, config, rng)
        # The plan of the epoch itself uses the seed (seed, epoch, 0).
        seed = (config.seed, epoch, 1 + position + i)
        plans.append(ClipPlan(sequence, frames, window_size, seed))
    return plans


def _choose_sequence(
    clip: int, lengths: Sequence[int], config: SamplerConfig, rng: np.random.Generator
) -> int:
    if not config.uses_every_start_frame:
        return clip
    if config.serial_batches:
        # The sequence that contains start frame number `clip` of all sequences' start frames.
        counts = list(accumulate(_count_start_frames(lengths, config)))
        return bisect_right(counts, clip)
    # Pose draws a sequence at random, in proportion to its length, so an epoch does not visit every
    # start frame exactly once, although it has as many clips as there are start frames. The release
    # draws in proportion to the number of start frames (docs/parity.md).
    return int(rng.choice(len(lengths), p=np.divide(lengths, sum(lengths))))


def _choose_frames(
    clip: int, length: int, n_frames: int, config: SamplerConfig, rng: np.random.Generator
) -> tuple[int, ...]:
    """Return `n_frames` frame indices with a random spacing and a random start."""
    max_step = min(config.max_t_step, (length - 1) // max(1, n_frames - 1))
    t_step = int(rng.integers(1, max_step, endpoint=True))
    last_start = length - 1 - (n_frames - 1) * t_step
    if config.uses_every_start_frame:
        # as published: for pose the start follows from the clip's index and is not random.
        start = clip % (last_start + 1)
    else:
        start = int(rng.integers(0, last_start, endpoint=True))
    return tuple(range(start, start + n_frames * t_step, t_step))
