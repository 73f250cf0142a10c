"""Key frames and what lies between them: motion is followed, frames are counted, latency is as said."""

from dataclasses import replace

import pytest
import torch

from models.flow.estimator import FlowEstimator, ZeroFlowEstimator
from models.flow.warp import warp
from models.inference.batched import synthesize_batched
from models.inference.first_frame import get_real_images, make_zero_images
from models.inference.keyframes import (
    WarpedKeyframe,
    condition_to_gray,
    interpolate_frames,
    select_sequence_synthesizer,
    synthesize_keyframes,
)
from models.inference.synthesis import synthesize
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options

CPU = torch.device("cpu")


class Steady(FlowEstimator):
    """Everything moved so many pixels to the right, from the image with the lower mean to that with the higher."""

    name, version = "steady", ""

    def __init__(self, pixels):
        self.pixels = pixels

    def estimate(self, current, previous):
        sign = torch.sign(previous.mean() - current.mean())
        flow = torch.zeros(current.shape[0], 2, *current.shape[2:])
        flow[:, 0] = sign * self.pixels
        return flow


def frames_of(clip):
    return [clip.slice_frames(t, t + 1) for t in range(len(clip))]


@pytest.fixture(scope="module")
def run():
    options = tiny_options("--label_nc 5 --norm instance")
    return tiny_networks(options).netG, configs.synthesis_config(options)


def keyed(run, clips, every, first=get_real_images, flow=None, **changes):
    networks, config = run
    return synthesize_keyframes(
        networks,
        iter(clips),
        first,
        replace(config, **changes),
        CPU,
        keyframe_interval=every,
        flow_estimator=flow or ZeroFlowEstimator(),
    )


def test_keyframe_interval_one_is_ordinary_synthesis():
    assert select_sequence_synthesizer(1) is synthesize_batched


@pytest.mark.parametrize(("frames", "every"), [(9, 2), (9, 3), (10, 4), (3, 2), (4, 4), (2, 2)])
def test_every_frame_is_yielded_once_in_order(run, frames, every):
    clips = frames_of(street_clip(frames, 16, 24))
    made = list(keyed(run, clips, every))
    assert [clip.names for clip, _ in made] == [clip.names for clip in clips[2:]]
    assert all(image.shape == (1, 3, 16, 24) for _, image in made)


def test_first_generated_frame_equals_synthesis(run):
    clips = frames_of(street_clip(5, 18, 22))
    networks, config = run
    for first, changes in ((get_real_images, {}), (make_zero_images, {"begin_with_zeros": True})):
        wanted = next(synthesize(networks, clips, first, replace(config, **changes), CPU))[1]
        assert torch.equal(next(keyed(run, clips, 2, first, **changes))[1], wanted)


def test_key_frame_input_is_its_conditions_and_the_previous_key_frame(run):
    clips = frames_of(street_clip(6, 16, 24))
    networks, config = run
    (_, before), *_, (_, key) = keyed(run, clips, 3)
    seen = [*clips[3:5], clips[5]]
    given = [replace(clip, image=before[:, None]) for clip in seen]  # nothing moves by NoFlow
    wanted = next(synthesize(networks, given, get_real_images, config, CPU))[1]
    torch.testing.assert_close(key, wanted, rtol=1e-4, atol=1e-4)


def test_reads_only_up_to_the_next_key_frame(run):
    read = []

    def reading():
        for number, clip in enumerate(frames_of(street_clip(12, 16, 24))):
            read.append(number)
            yield clip

    made = keyed(run, reading(), 4)
    next(made)
    assert read[-1] == 2
    next(made)
    assert read[-1] == 6


def test_interpolated_motion_is_linear_and_ends_at_the_key_frames():
    before = torch.linspace(-1, 0, 24).expand(1, 3, 8, 24).clone()
    after = before.roll(4, dims=-1) + 0.1
    first, middle, last = interpolate_frames(before, after, 4, Steady(4.0))
    for s, image in ((0.25, first), (0.5, middle), (0.75, last)):
        expected = before.roll(int(4 * s), dims=-1) + 0.1 * s
        torch.testing.assert_close(image[..., 6:-6], expected[..., 6:-6])


def test_interpolation_without_motion_is_a_cross_fade():
    before, after = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    assert [
        float(image.mean()) for image in interpolate_frames(before, after, 4, ZeroFlowEstimator())
    ] == [0.25, 0.5, 0.75]


def test_key_frame_is_warped_with_its_condition():
    clip = street_clip(3, 18, 22)
    image = torch.rand(1, 3, 18, 22)
    key, *later = frames_of(clip)
    key, later = (
        replace(key, condition=torch.full_like(key.condition, 1)),
        [replace(frame, condition=torch.full_like(frame.condition, 2)) for frame in later],
    )
    carried = WarpedKeyframe(key, image, size_multiple=1, flow_estimator=Steady(2.0), label_nc=5)(
        later
    )
    sign = torch.sign(condition_to_gray(key, 5).mean() - condition_to_gray(later[0], 5).mean())
    flow = torch.zeros(1, 2, 18, 22)
    flow[:, 0] = 2.0 * sign
    assert carried.shape == (1, 2, 3, 18, 22)
    for t in range(2):
        torch.testing.assert_close(carried[:, t], warp(image, flow))


def test_labels_map_to_distinct_gray_values():
    ids = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 1, 16, 16)
    grey = condition_to_gray(replace(street_clip(1, 16, 16), condition=ids), 256)
    assert grey.shape == (1, 3, 16, 16) and len(grey.unique()) == 256
    assert float(grey.min()) == -1 and float(grey.max()) == 1
