"""Tests of sampling: published counts and lengths computed by hand, and properties of every plan."""

from collections import Counter
from dataclasses import replace
from itertools import combinations
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sampler import (
    ClipPlan,
    SamplerConfig,
    check_sequence_lengths,
    compute_clip_length,
    plan_epoch,
)
from util.errors import UserError

LENGTHS = st.lists(st.integers(3, 40), min_size=1, max_size=6)
CONFIGS = st.builds(
    SamplerConfig,
    n_frames_G=st.integers(1, 3),
    max_frames_per_gpu=st.integers(1, 6),
    n_gpus_gen=st.integers(1, 3),
    max_t_step=st.integers(1, 4),
    batch_size=st.integers(1, 5),
    max_clips=st.sampled_from([1, 3, 10, inf]),
    clips_per_epoch=st.sampled_from([None, 1, 7, 20]),
    serial_batches=st.booleans(),
    uses_every_start_frame=st.booleans(),
    seed=st.integers(0, 2**32),
)


def flatten(batches: list[list[ClipPlan]]) -> list[ClipPlan]:
    return [clip for batch in batches for clip in batch]


def sequence_order(batches: list[list[ClipPlan]]) -> list[int]:
    return [clip.sequence for clip in flatten(batches)]


@given(LENGTHS, CONFIGS, st.integers(1, 30), st.integers(1, 5))
def test_every_plan_is_complete_and_inside_its_sequence(
    lengths: list[int], config: SamplerConfig, total: int, epoch: int
) -> None:
    batches = plan_epoch(lengths, config, total, epoch)
    for batch in batches:
        assert len(batch) == config.batch_size
        assert len({(len(clip.frames), clip.window_size) for clip in batch}) == 1
        shortest = min(lengths[clip.sequence] for clip in batch)
        assert len(batch[0].frames) == compute_clip_length(shortest, config, total)[1] <= shortest
    for clip in flatten(batches):
        assert 0 <= clip.frames[0] <= clip.frames[-1] < lengths[clip.sequence]
        spacings = set(np.diff(clip.frames).tolist())
        assert len(spacings) <= 1 and spacings <= set(range(1, config.max_t_step + 1))
        assert (len(clip.frames) - config.n_frames_G + 1) % clip.window_size == 0
    assert len({clip.seed for clip in flatten(batches)}) == len(flatten(batches))


@given(LENGTHS, CONFIGS)
def test_steps_per_epoch_match_the_published_count(
    lengths: list[int], config: SamplerConfig
) -> None:
    n_clips = len(lengths)
    if config.uses_every_start_frame:
        n_clips = sum(length - config.n_frames_G + 1 for length in lengths)
    count = min(config.clips_per_epoch or n_clips, config.max_clips)
    assert len(plan_epoch(lengths, config, 6, 1)) == max(1, int(count // config.batch_size))


@given(LENGTHS, CONFIGS)
def test_a_plan_is_a_function_of_seed_and_epoch(lengths: list[int], config: SamplerConfig) -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert plan_epoch(lengths, config, 6, 2) == plan_epoch(lengths, config, 6, 2)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_epochs_and_seeds_differ() -> None:
    config = SamplerConfig(max_t_step=3)
    plans = [plan_epoch([30] * 5, replace(config, seed=s), 6, e) for s in (0, 1) for e in (1, 2)]
    frames = [[(clip.sequence, clip.frames) for clip in flatten(plan)] for plan in plans]
    assert all(a != b for a, b in combinations(frames, 2))


@pytest.mark.parametrize(
    ("length", "total", "per_gpu", "gpus", "expected"),
    [
        (30, 6, 1, 1, (1, 8)),
        (30, 6, 2, 6, (6, 8)),
        (30, 7, 2, 1, (2, 8)),  # the odd frame is left out
        (5, 30, 2, 1, (2, 4)),  # 3 can be generated, 2 of them in whole windows
        (3, 30, 6, 1, (1, 3)),
    ],
)
def test_clip_lengths_match_hand_computed_values(
    length: int, total: int, per_gpu: int, gpus: int, expected: tuple[int, int]
) -> None:
    config = SamplerConfig(max_frames_per_gpu=per_gpu, n_gpus_gen=gpus)
    assert compute_clip_length(length, config, total) == expected


def test_epoch_has_every_sequence_once_in_shuffled_order() -> None:
    orders = [sequence_order(plan_epoch([9] * 8, SamplerConfig(), 3, e)) for e in range(4)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_starts_and_spacings_are_uniform() -> None:
    config = SamplerConfig(clips_per_epoch=4000, max_t_step=2)
    counts = Counter(
        (np.diff(clip.frames)[0].item(), clip.frames[0])
        for clip in flatten(plan_epoch([7], config, 2, 1))
    )
    # Keys: (spacing, start).
    assert {key: round(n / 4000, 1) for key, n in counts.items()} == {
        (1, 0): 0.1,
        (1, 1): 0.1,
        (1, 2): 0.1,
        (1, 3): 0.1,
        (2, 0): 0.5,
    }


def test_serial_keeps_the_order() -> None:
    config = SamplerConfig(serial_batches=True, clips_per_epoch=6)
    assert sequence_order(plan_epoch([9] * 4, config, 3, 1)) == [0, 1, 2, 3, 0, 1]


def test_fixed_clips_per_epoch_cycles_evenly_over_sequences() -> None:
    order = sequence_order(plan_epoch([9] * 4, SamplerConfig(clips_per_epoch=10), 3, 1))
    assert sorted(order[:4]) == sorted(order[4:8]) == [0, 1, 2, 3]
    assert len(set(order[8:])) == 2


def test_clips_are_repeated_to_fill_a_batch() -> None:
    (batch,) = plan_epoch([20, 20], SamplerConfig(batch_size=5), 3, 1)
    assert sorted(Counter(clip.sequence for clip in batch).values()) == [2, 3]
    assert len({clip.frames for clip in batch if clip.sequence == 0}) > 1


def test_clips_of_a_batch_get_the_length_of_the_shortest() -> None:
    (batch,) = plan_epoch([5, 30], SamplerConfig(batch_size=2), 10, 1)
    assert [len(clip.frames) for clip in batch] == [5, 5]


def test_pose_samples_sequences_in_proportion_to_their_lengths() -> None:
    config = SamplerConfig(uses_every_start_frame=True, clips_per_epoch=4000)
    counts = Counter(sequence_order(plan_epoch([10, 30], config, 3, 1)))
    assert abs(counts[1] / 4000 - 0.75) < 0.03


def test_serial_pose_visits_every_start_frame() -> None:
    config = SamplerConfig(uses_every_start_frame=True, serial_batches=True)
    clips = flatten(plan_epoch([4, 5], config, 1, 1))
    assert [clip.sequence for clip in clips] == [0, 0, 1, 1, 1]
    # The start frame is the clip's index modulo the number of start frames.
    assert [clip.frames[0] for clip in clips] == [0, 1, 2 % 3, 3 % 3, 4 % 3]


def test_short_sequences_are_refused_by_name() -> None:
    check_sequence_lengths(["a", "b"], [3, 4], 3)
    with pytest.raises(UserError, match="sequence b has 2 frames; --n_frames_G 3"):
        check_sequence_lengths(["a", "b"], [3, 2], 3)
