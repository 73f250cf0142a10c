"""Key frames and what lies between them: motion is followed, frames are counted, latency is as said."""

from dataclasses import replace

import pytest
import torch

from models.first_frame import real_pictures, zeros
from models.flow.reference import NoFlow, ReferenceFlow
from models.keyframes import Carried, between, choose_synthesis, drawn, synthesise_keyed
from models.synthesis import synthesise
from models.together import synthesise_together
from models.warp import warp
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options

CPU = torch.device("cpu")


class Steady(ReferenceFlow):
    """Everything moved so many pixels to the right, from the picture with the lower mean to that with the higher."""

    name, version = "steady", ""

    def __init__(self, pixels):
        self.pixels = pixels

    def vectors(self, current, previous):
        sign = torch.sign(previous.mean() - current.mean())
        flow = torch.zeros(current.shape[0], 2, *current.shape[2:])
        flow[:, 0] = sign * self.pixels
        return flow


def frames_of(clip):
    return [clip.frames(t, t + 1) for t in range(len(clip))]


@pytest.fixture(scope="module")
def run():
    options = tiny_options("--label_nc 5 --norm instance")
    return tiny_networks(options).generator, configs.synthesis(options)


def keyed(run, clips, every, first=real_pictures, flow=None, **changes):
    networks, config = run
    return synthesise_keyed(networks, iter(clips), first, replace(config, **changes), CPU, every=every,
                            flow=flow or NoFlow())


def test_every_frame_is_the_published_way():
    assert choose_synthesis(1) is synthesise_together


@pytest.mark.parametrize(("frames", "every"), [(9, 2), (9, 3), (10, 4), (3, 2), (4, 4), (2, 2)])
def test_every_frame_is_given_once_and_in_order(run, frames, every):
    clips = frames_of(street_clip(frames, 16, 24))
    made = list(keyed(run, clips, every))
    assert [clip.names for clip, _ in made] == [clip.names for clip in clips[2:]]
    assert all(picture.shape == (1, 3, 16, 24) for _, picture in made)


def test_the_first_painted_frame_is_that_of_synthesis(run):
    clips = frames_of(street_clip(5, 18, 22))
    networks, config = run
    for first, changes in ((real_pictures, {}), (zeros, {"begin_with_zeros": True})):
        wanted = next(synthesise(networks, clips, first, replace(config, **changes), CPU))[1]
        assert torch.equal(next(keyed(run, clips, 2, first, **changes))[1], wanted)


def test_a_key_frame_sees_its_own_conditions_and_the_last_key_frame(run):
    clips = frames_of(street_clip(6, 16, 24))
    networks, config = run
    (_, before), *_, (_, key) = keyed(run, clips, 3)
    seen = [*clips[3:5], clips[5]]
    given = [replace(clip, picture=before[:, None]) for clip in seen]  # nothing moves by NoFlow
    wanted = next(synthesise(networks, given, real_pictures, config, CPU))[1]
    torch.testing.assert_close(key, wanted, rtol=1e-4, atol=1e-4)


def test_no_more_is_read_than_the_next_key_frame_needs(run):
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


def test_frames_between_move_steadily_and_end_where_the_key_frames_are():
    before = torch.linspace(-1, 0, 24).expand(1, 3, 8, 24).clone()
    after = before.roll(4, dims=-1) + 0.1
    first, middle, last = between(before, after, 4, Steady(4.0))
    for s, picture in ((0.25, first), (0.5, middle), (0.75, last)):
        expected = before.roll(int(4 * s), dims=-1) + 0.1 * s
        torch.testing.assert_close(picture[..., 6:-6], expected[..., 6:-6])


def test_between_without_motion_is_a_fade():
    before, after = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    assert [float(picture.mean()) for picture in between(before, after, 4, NoFlow())] == [0.25, 0.5, 0.75]


def test_a_picture_is_carried_along_with_its_condition():
    clip = street_clip(3, 18, 22)
    picture = torch.rand(1, 3, 18, 22)
    key, *later = frames_of(clip)
    key, later = (replace(key, condition=torch.full_like(key.condition, 1)),
                  [replace(frame, condition=torch.full_like(frame.condition, 2)) for frame in later])
    carried = Carried(key, picture, size_multiple=1, flow=Steady(2.0), label_nc=5)(later)
    sign = torch.sign(drawn(key, 5).mean() - drawn(later[0], 5).mean())
    flow = torch.zeros(1, 2, 18, 22)
    flow[:, 0] = 2.0 * sign
    assert carried.shape == (1, 2, 3, 18, 22)
    for t in range(2):
        torch.testing.assert_close(carried[:, t], warp(picture, flow))


def test_labels_are_drawn_in_greys_of_their_own():
    ids = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 1, 16, 16)
    grey = drawn(replace(street_clip(1, 16, 16), condition=ids), 256)
    assert grey.shape == (1, 3, 16, 16) and len(grey.unique()) == 256
    assert float(grey.min()) == -1 and float(grey.max()) == 1
