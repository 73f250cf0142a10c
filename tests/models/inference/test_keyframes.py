"""Tests of key frames and the frames between them: warping, interpolation, frame count and latency."""

from dataclasses import replace

import pytest
import torch

from models.flow.estimator import FlowEstimator, ZeroFlowEstimator
from models.flow.warp import warp
from models.inference.batched import synthesize_sequences
from models.inference.first_frame import get_real_images, make_zero_images
from models.inference.keyframes import (
    condition_to_gray,
    interpolate_frames,
    synthesize_keyframes,
    warp_keyframe,
)
from models.inference.synthesizer import Synthesizer
from options import configs
from tests.tiny import split_frames, street_clip, tiny_networks, tiny_options


class ConstantFlowEstimator(FlowEstimator):
    """Motion by `pixels` to the right, from the image with the lower mean to that with the higher."""

    name, version = "constant", ""

    def __init__(self, pixels):
        self.pixels = pixels

    def estimate(self, current, previous):
        sign = torch.sign(previous.mean() - current.mean())
        flow = torch.zeros(current.shape[0], 2, *current.shape[2:])
        flow[:, 0] = sign * self.pixels
        return flow


@pytest.fixture(scope="module")
def synthesizer():
    options = tiny_options("--label_nc 5 --norm instance")
    config = configs.synthesis_config(options)
    return Synthesizer.from_generators(tiny_networks(options).netG, config, get_real_images)


def with_keyframes(synthesizer, clips, interval):
    return synthesize_keyframes(synthesizer, iter(clips), interval, ZeroFlowEstimator())


def test_keyframe_interval_one_is_ordinary_synthesis(synthesizer):
    clips = split_frames(street_clip(5, 16, 24))
    expected = list(synthesizer.synthesize(clips))
    frames = list(synthesize_sequences(synthesizer, [clips], keyframe_interval=1))
    for (index, clip, image), (expected_clip, expected_image) in zip(frames, expected, strict=True):
        assert index == 0 and clip is expected_clip and torch.equal(image, expected_image)


@pytest.mark.parametrize(
    ("n_frames", "interval"), [(9, 2), (9, 3), (10, 4), (3, 2), (4, 4), (2, 2)]
)
def test_every_frame_is_yielded_once_in_order(synthesizer, n_frames, interval):
    clips = split_frames(street_clip(n_frames, 16, 24))
    frames = list(with_keyframes(synthesizer, clips, interval))
    assert [clip.names for clip, _ in frames] == [clip.names for clip in clips[2:]]
    assert all(image.shape == (1, 3, 16, 24) for _, image in frames)


def test_first_generated_frame_equals_synthesis(synthesizer):
    clips = split_frames(street_clip(5, 18, 22))
    from_zeros = replace(
        synthesizer,
        get_first_images=make_zero_images,
        config=replace(synthesizer.config, no_first_img=True),
    )
    for variant in (synthesizer, from_zeros):
        _, expected = next(variant.synthesize(clips))
        _, image = next(with_keyframes(variant, clips, 2))
        assert torch.equal(image, expected)


def test_key_frame_input_is_its_conditions_and_the_previous_key_frame(synthesizer):
    clips = split_frames(street_clip(6, 16, 24))
    (_, previous_key), *_, (_, key) = with_keyframes(synthesizer, clips, 3)
    # Without motion, the warped history is the previous key frame itself.
    inputs = [replace(clip, image=previous_key[:, None]) for clip in clips[3:6]]
    _, expected = next(synthesizer.synthesize(inputs))
    torch.testing.assert_close(key, expected, rtol=1e-4, atol=1e-4)


def test_reads_only_up_to_the_next_key_frame(synthesizer):
    read = []

    def record_reads():
        for number, clip in enumerate(split_frames(street_clip(12, 16, 24))):
            read.append(number)
            yield clip

    frames = with_keyframes(synthesizer, record_reads(), 4)
    next(frames)
    assert read[-1] == 2
    next(frames)
    assert read[-1] == 6


def test_interpolated_motion_is_linear_and_ends_at_the_key_frames():
    first = torch.linspace(-1, 0, 24).expand(1, 3, 8, 24).clone()
    last = first.roll(4, dims=-1) + 0.1
    images = interpolate_frames(first, last, 4, ConstantFlowEstimator(4.0))
    for s, image in zip((0.25, 0.5, 0.75), images, strict=True):
        expected = first.roll(int(4 * s), dims=-1) + 0.1 * s
        torch.testing.assert_close(image[..., 6:-6], expected[..., 6:-6])


def test_interpolation_without_motion_is_a_cross_fade():
    first, last = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    images = interpolate_frames(first, last, 4, ZeroFlowEstimator())
    assert [float(image.mean()) for image in images] == [0.25, 0.5, 0.75]


def test_key_frame_is_warped_with_its_condition(synthesizer):
    image = torch.rand(1, 3, 16, 24)
    key, *clips = split_frames(street_clip(3, 16, 24))
    key = replace(key, condition=torch.full_like(key.condition, 1))
    clips = [replace(clip, condition=torch.full_like(clip.condition, 2)) for clip in clips]
    warped = warp_keyframe(synthesizer, key, image, clips, ConstantFlowEstimator(2.0))
    sign = torch.sign(condition_to_gray(key, 5).mean() - condition_to_gray(clips[0], 5).mean())
    flow = torch.zeros(1, 2, 16, 24)
    flow[:, 0] = 2.0 * sign
    assert warped.shape == (1, 2, 3, 16, 24)
    for t in range(2):
        torch.testing.assert_close(warped[:, t], warp(image, flow))


def test_labels_map_to_distinct_gray_values():
    ids = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 1, 16, 16)
    gray = condition_to_gray(replace(street_clip(1, 16, 16), condition=ids), 256)
    assert gray.shape == (1, 3, 16, 16) and len(gray.unique()) == 256
    assert float(gray.min()) == -1 and float(gray.max()) == 1
