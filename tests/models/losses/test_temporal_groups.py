"""Temporal groups, against the public release's and by properties."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.losses.temporal_groups import (
    BufferedFrame,
    FlowPairSelector,
    FrameBuffer,
    FrameGroups,
    group_frames,
    list_flow_pairs,
    plan_clip_groups,
)
from models.networks.discriminators import TemporalConfig
from util.clip import Clip

CASES = json.loads((Path(__file__).parents[2] / "parity/temporal_groups.json").read_text())["cases"]

configs = st.builds(
    TemporalConfig,
    n_frames_D=st.integers(2, 3),
    n_scales=st.integers(0, 3),
    is_sparse=st.booleans(),
)


def make_frame(number: int, requires_grad: bool = False) -> BufferedFrame:
    """Return a frame whose values are all its number; the values of its flow are 0.5 higher."""
    image = torch.full((1, 3, 2, 2), float(number), requires_grad=requires_grad)
    return BufferedFrame(image.detach(), image, image.detach()[:, :2] + 0.5)


@pytest.mark.parametrize(
    "case",
    CASES,
    ids=lambda c: (
        f"{'sparse' if c['sparse'] else 'dense'}-{c['n_frames_D']}x{c['n_scales_temporal']}-load{c['load']}"
    ),
)
def test_groups_match_the_published_ones(case: dict) -> None:
    config = TemporalConfig(case["n_frames_D"], case["n_scales_temporal"], case["sparse"])
    plans = plan_clip_groups(len(case["windows"]) * case["load"], case["load"], config)
    groups = [[[list(group) for group in scale] or None for scale in plan.groups] for plan in plans]
    assert groups == case["windows"]


@given(configs, st.integers(1, 7), st.integers(1, 12))
def test_groups_are_strided_and_end_in_new_frames(
    config: TemporalConfig, load: int, n: int
) -> None:
    for number, plan in enumerate(plan_clip_groups(n * load, load, config)):
        for scale, groups in enumerate(plan.groups):
            for group in groups:
                assert (
                    len(group) == config.n_frames_D
                    and group[0] >= 0
                    and group[-1] < (number + 1) * load
                )
                assert {b - a for a, b in pairwise(group)} == {config.n_frames_D**scale}
                if not config.is_sparse:
                    assert group[-1] >= number * load


@given(configs.filter(lambda c: c.n_scales > 0), st.integers(1, 6), st.integers(1, 30))
def test_frame_buffer_stays_bounded(config: TemporalConfig, load: int, n: int) -> None:
    most = (
        config.n_frames_D ** (config.n_scales - 1) * (config.n_frames_D - 1)
        + load
        + config.n_frames_D
    )
    assert all(
        len(kept) <= most
        for plan in plan_clip_groups(n * load, load, config)
        for kept in plan.retained
    )


@given(configs, st.integers(1, 5), st.integers(2, 3), st.integers(1, 8))
def test_flow_pairs_cover_all_pairs_of_training(
    config: TemporalConfig, load: int, tG: int, windows: int
) -> None:
    """Group the frames of a clip window by window, as in training, and collect the pairs that need a flow."""
    n_history = tG - 1
    needed = set()
    frame_buffer = FrameBuffer.empty(config)
    for start in range(0, windows * load, load):
        new = {n: make_frame(n) for n in range(start, start + load)}
        groups, frame_buffer = group_frames(frame_buffer, new, config)
        needed |= {(n + n_history, n + n_history - 1) for n in new}
        if not config.is_sparse:
            needed |= {
                (b + n_history, a + n_history)
                for scale in groups[1:]
                if scale
                for g in scale.frame_numbers
                for a, b in pairwise(g)
            }
    frames = n_history + windows * load
    assert set(list_flow_pairs(frames, load, tG, config)) == needed
    clip = Clip(torch.zeros(1, frames, 1, 2, 2), None, None, (("x",) * frames,), load)
    assert FlowPairSelector(tG, config)(clip) == list_flow_pairs(frames, load, tG, config)


def group_windows(
    config: TemporalConfig, load: int, count: int
) -> list[tuple[int, list[FrameGroups | None]]]:
    frame_buffer, windows = FrameBuffer.empty(config), []
    for start in range(0, count * load, load):
        groups, frame_buffer = group_frames(
            frame_buffer, {n: make_frame(n, True) for n in range(start, start + load)}, config
        )
        windows.append((start, groups))
    return windows


@pytest.mark.parametrize("sparse", [False, True])
def test_group_tensors_match_their_frame_numbers(sparse: bool) -> None:
    checked = 0
    for _, groups in group_windows(TemporalConfig(3, 2, sparse), load=4, count=5):
        for scale in filter(None, groups):
            numbers = torch.tensor(scale.frame_numbers, dtype=torch.float32)
            assert torch.equal(scale.real[0, :, :, 0, 0, 0], numbers)
            assert torch.equal(scale.fake[0, :, :, 0, 0, 0], numbers)
            assert torch.equal(scale.flow[0, :, :, 0, 0, 0], numbers[:, 1:] + 0.5)
            checked += len(scale.frame_numbers)
    assert checked > 10


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_reach_only_frames_of_the_window(sparse: bool) -> None:
    config = TemporalConfig(3, 2, sparse)
    frame_buffer = FrameBuffer.empty(config)
    load = 4
    n_mixed_groups = 0
    history: dict[int, BufferedFrame] = {}
    for start in range(0, 20, load):
        new = {n: make_frame(n, True) for n in range(start, start + load)}
        history |= new
        groups, frame_buffer = group_frames(frame_buffer, new, config)
        for scale in filter(None, groups):
            if not scale.fake.requires_grad:
                continue
            scale.fake.sum().backward()
            members = {n for group in scale.frame_numbers for n in group}
            reached = {n for n, frame in history.items() if frame.fake.grad is not None}
            assert reached == {n for n in members if n >= start}
            n_mixed_groups += bool(members - reached)
            for frame in history.values():
                frame.fake.grad = None
    assert n_mixed_groups
