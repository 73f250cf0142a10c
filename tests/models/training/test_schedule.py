"""The training schedule, against examples by hand and properties."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.schedule import (
    MAX_CLIP_FRAMES,
    EpochSettings,
    ScheduleConfig,
    compute_epoch_settings,
)

EXAMPLE = ScheduleConfig(  # --n_frames_total 6 --niter_step 5 --niter 10 --niter_decay 10
    n_epochs=10,
    n_epochs_decay=10,
    n_frames_G=3,
    n_frames_total=6,
    epochs_per_step=5,
    max_frames_per_gpu=1,
    max_frames_backpropagate=1,
    n_epochs_freeze_coarse=0,
    n_scales=1,
    max_sequence_frames=1000,
)

configs = st.builds(
    ScheduleConfig,
    n_epochs=st.integers(0, 12),
    n_epochs_decay=st.integers(1, 12),
    n_frames_G=st.integers(2, 4),
    n_frames_total=st.integers(1, 40),
    epochs_per_step=st.integers(1, 6),
    max_frames_per_gpu=st.integers(1, 9),
    max_frames_backpropagate=st.integers(1, 9),
    n_epochs_freeze_coarse=st.integers(0, 9),
    n_scales=st.integers(1, 3),
    max_sequence_frames=st.integers(5, 300),
    n_generator_gpus=st.integers(1, 4),
)


def compute_all_settings(config: ScheduleConfig) -> list[EpochSettings]:
    return [compute_epoch_settings(epoch, config) for epoch in range(1, config.last_epoch + 1)]


def test_published_schedule_example() -> None:
    lengths = [settings.n_frames_total for settings in compute_all_settings(EXAMPLE)]
    assert lengths == [6] * 5 + [12] * 5 + [24] * 5 + [48] * 5
    factors = [settings.lr_factor for settings in compute_all_settings(EXAMPLE)]
    assert factors == pytest.approx([1] * 11 + [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize(
    ("longest", "lengths"),
    [
        (20, [6, 12, 18, 18]),
        (14, [6, 12, 12, 12]),
        (13, [6, 11, 11, 11]),
        (1000, [6, 12, 24, 48]),
    ],
)
def test_clip_length_grows_up_to_the_longest_sequence(longest: int, lengths: list[int]) -> None:
    config = replace(EXAMPLE, max_sequence_frames=longest)
    assert [
        compute_epoch_settings(epoch, config).n_frames_total for epoch in (5, 6, 11, 16)
    ] == lengths


def test_clip_length_never_exceeds_the_maximum() -> None:
    config = replace(EXAMPLE, n_frames_total=30, epochs_per_step=1)
    assert [p.n_frames_total for p in compute_all_settings(config)][:5] == [
        30,
        60,
        120,
        MAX_CLIP_FRAMES - 2,
        MAX_CLIP_FRAMES - 2,
    ]


@pytest.mark.parametrize(
    ("frames_per_gpu", "max_frames", "expected"),
    [
        (4, 4, [1, 2, 4, 4]),
        (6, 4, [1, 2, 3, 3]),
        (6, 6, [1, 2, 3, 6]),
        (3, 3, [1, 1, 3, 3]),
        (4, 1, [1, 1, 1, 1]),
        (1, 8, [1, 1, 1, 1]),
    ],
)
def test_bptt_frames_grow_over_epochs(
    frames_per_gpu: int, max_frames: int, expected: list[int]
) -> None:
    """By hand: n // ceil(n / min(max_frames, 2**k)) while that is below n frames per window."""
    config = replace(
        EXAMPLE,
        epochs_per_step=1,
        max_frames_per_gpu=frames_per_gpu,
        max_frames_backpropagate=max_frames,
    )
    assert [compute_epoch_settings(epoch, config).bptt_frames for epoch in (1, 2, 3, 4)] == expected


def test_frames_per_gpu_start_at_the_clip_length_and_double() -> None:
    config = replace(
        EXAMPLE, n_generator_gpus=4, n_frames_total=8, max_frames_per_gpu=5, epochs_per_step=1
    )
    assert [compute_epoch_settings(epoch, config).frames_per_gpu for epoch in (1, 2, 3, 4)] == [
        2,
        4,
        5,
        5,
    ]


@pytest.mark.parametrize(
    ("n_scales", "n_epochs_freeze", "expected"),
    [(1, 3, [True] * 5), (2, 0, [True] * 5), (2, 3, [False, False, False, True, True])],
)
def test_only_the_finest_scale_trains_in_the_first_epochs(
    n_scales: int, n_epochs_freeze: int, expected: list[bool]
) -> None:
    config = replace(EXAMPLE, n_scales=n_scales, n_epochs_freeze_coarse=n_epochs_freeze)
    assert [settings.train_coarse for settings in compute_all_settings(config)][:5] == expected


@given(configs)
def test_schedule_is_monotonic_and_bounded(config: ScheduleConfig) -> None:
    epochs = compute_all_settings(config)
    usable = min(MAX_CLIP_FRAMES, config.max_sequence_frames) - (config.n_frames_G - 1)
    for before, after in zip(epochs, epochs[1:], strict=False):
        assert after.frames_per_gpu >= before.frames_per_gpu
        assert before.lr_factor >= after.lr_factor > 0
        assert after.n_frames_total >= before.n_frames_total
    for settings in epochs:
        assert (
            1
            <= settings.bptt_frames
            <= max(
                1,
                settings.frames_per_gpu * config.n_generator_gpus,
                config.max_frames_backpropagate,
            )
        )
        assert settings.n_frames_total <= max(usable, config.n_frames_total)
        assert settings.frames_per_gpu <= config.max_frames_per_gpu
        assert math.isclose(settings.lr_factor, 1) or settings.epoch > config.n_epochs + 1
