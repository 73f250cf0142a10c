"""Sequences side by side are what each would be alone, whatever their lengths, sizes and beginnings."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from models import first_frame
from models.regions import Vectors
from models.rollout import step
from models.synthesis import synthesise
from models.together import synthesise_together
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options
from util.clip import Clip

CPU = torch.device("cpu")
SHAPES = [(6, 20, 28), (3, 20, 28), (2, 20, 28), (7, 20, 28), (5, 16, 24)]  # frames, height, width


def sequences(label_nc: int = 5) -> list[list[Clip]]:
    """Of each shape one, different even where shapes are equal."""
    whole = street_clip(7, 20, 28, batch=len(SHAPES), label_nc=max(label_nc, 1))
    if not label_nc:
        whole = replace(whole, condition=whole.picture.flip(1))
    return [[cut(whole.clips(b, b + 1).frames(t, t + 1), height, width) for t in range(count)]
            for b, (count, height, width) in enumerate(SHAPES)]


def cut(frame: Clip, height: int, width: int) -> Clip:
    return frame.map(lambda tensor: tensor[..., :height, :width])


def in_double(clip: Clip) -> Clip:
    return clip.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def looks(labels: Mapping[int, int]) -> Vectors:
    return {region: np.array([label / 5, region / 3]) for region, label in labels.items()}


def differences(flags: str, double: bool) -> list[float]:
    """Largest of each frame, between side by side and alone."""
    options = tiny_options(flags)
    networks, given = tiny_networks(options).generator, sequences(options.label_nc)
    if double:
        networks, given = networks.double(), [[in_double(clip) for clip in clips] for clips in given]
    config = configs.blueprint(options).synthesis(looks if options.label_feat else None)
    first = first_frame.zeros if options.no_first_img else first_frame.real_pictures
    made = defaultdict(list)
    for number, clip, picture in synthesise_together(networks, given, first, config, CPU):
        made[number].append((clip.names, picture))
    alone = {number: list(synthesise(networks, clips, first, config, CPU)) for number, clips in enumerate(given)}
    for number, clips in enumerate(given):
        assert [names for names, _ in made[number]] == [clip.names for clip in clips[options.n_frames_G - 1:]]
        assert len(alone[number]) == len(made[number])
    return [float((picture - expected).abs().max()) for number, frames in made.items()
            for (_, picture), (_, expected) in zip(frames, alone[number], strict=True)]


@pytest.mark.parametrize("flags", ["--label_nc 5 --use_instance --fg --fg_labels 1,3", "--n_scales_spatial 2",
                                   "--label_nc 5 --norm instance --no_flow"])
def test_each_is_what_it_would_be_alone(flags: str) -> None:
    assert max(differences(flags, double=True)) < 1e-11


@pytest.mark.parametrize("flags", [
    "--label_nc 5 --use_instance --label_feat --feat_num 2", "--label_nc 5 --no_first_img",
    "--label_nc 5 --n_frames_G 2 --n_scales_spatial 2"])
def test_rounding_grows_from_frame_to_frame_but_stays_far_below_a_grey_level(flags: str) -> None:
    found = differences(flags, double=False)
    assert max(found) < 1e-3 and max(found[:3]) < 2e-5  # a grey level is 8e-3


def test_sequences_of_one_size_share_a_step_as_long_as_they_last() -> None:
    options, batches = tiny_options("--label_nc 5"), []

    def watched(networks, conditions, history, **how):
        batches.append(len(history.pictures[0]))
        return step(networks, conditions, history, **how)

    config = replace(configs.synthesis(options), step=watched)
    frames = synthesise_together(tiny_networks(options).generator, sequences(), first_frame.real_pictures, config, CPU)
    assert [number for number, _, _ in frames] == [0, 1, 3, 4, 0, 3, 4, 0, 3, 4, 0, 3, 3]
    assert batches == [3, 1, 2, 1, 2, 1, 2, 1]


def test_one_sequence_is_the_same_to_the_last_bit_and_is_not_read_ahead() -> None:
    options, read = tiny_options("--label_nc 5"), []

    def counted(clips):
        for clip in clips:
            read.append(clip)
            yield clip

    networks, config, clips = tiny_networks(options).generator, configs.synthesis(options), sequences()[0]
    expected = [picture for _, picture in synthesise(networks, clips, first_frame.real_pictures, config, CPU)]
    frames = synthesise_together(networks, [counted(clips)], first_frame.real_pictures, config, CPU)
    for number, (_, _, picture) in enumerate(frames):
        assert torch.equal(picture, expected[number]) and len(read) == number + 3
