"""Sequences side by side are what each would be alone, whatever their lengths, sizes and beginnings."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.inference import first_frame
from models.inference.batched import synthesize_batched
from models.inference.region_features import RegionFeatures
from models.inference.synthesis import synthesize
from models.networks.blocks import use_per_sample_stats
from models.networks.rollout import generate_frame
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options
from util.clip import Clip

CPU = torch.device("cpu")
SHAPES = [(6, 20, 28), (3, 20, 28), (2, 20, 28), (7, 20, 28), (5, 16, 24)]  # frames, height, width


def sequences(label_nc: int = 5) -> list[list[Clip]]:
    """Of each shape one, different even where shapes are equal."""
    whole = street_clip(7, 20, 28, batch=len(SHAPES), label_nc=max(label_nc, 1))
    if not label_nc:
        whole = replace(whole, condition=whole.image.flip(1))
    return [
        [
            cut(whole.slice_batch(b, b + 1).slice_frames(t, t + 1), height, width)
            for t in range(count)
        ]
        for b, (count, height, width) in enumerate(SHAPES)
    ]


def cut(frame: Clip, height: int, width: int) -> Clip:
    return frame.apply(lambda tensor: tensor[..., :height, :width])


def in_double(clip: Clip) -> Clip:
    return clip.apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def looks(labels: Mapping[int, int]) -> RegionFeatures:
    return {region: np.array([label / 5, region / 3]) for region, label in labels.items()}


def differences(flags: str, double: bool) -> list[float]:
    """Largest of each frame, between side by side and alone."""
    options = tiny_options(flags)
    networks, given = tiny_networks(options).netG, sequences(options.label_nc)
    use_per_sample_stats(networks)
    if double:
        networks, given = (
            networks.double(),
            [[in_double(clip) for clip in clips] for clips in given],
        )
    config = configs.model_config(options).build_synthesis_config(
        looks if options.label_feat else None
    )
    first = first_frame.make_zero_images if options.no_first_img else first_frame.get_real_images
    made = defaultdict(list)
    for number, clip, image in synthesize_batched(networks, given, first, config, CPU):
        made[number].append((clip.names, image))
    alone = {
        number: list(synthesize(networks, clips, first, config, CPU))
        for number, clips in enumerate(given)
    }
    for number, clips in enumerate(given):
        assert [names for names, _ in made[number]] == [
            clip.names for clip in clips[options.n_frames_G - 1 :]
        ]
        assert len(alone[number]) == len(made[number])
    return [
        float((image - expected).abs().max())
        for number, frames in made.items()
        for (_, image), (_, expected) in zip(frames, alone[number], strict=True)
    ]


@pytest.mark.parametrize(
    "flags",
    [
        "--label_nc 5 --use_instance --fg --fg_labels 1,3",
        "--n_scales_spatial 2",
        "--label_nc 5 --norm instance --no_flow",
    ],
)
def test_batched_sequences_equal_separate_synthesis(flags: str) -> None:
    assert max(differences(flags, double=True)) < 1e-11


@pytest.mark.parametrize(
    "flags",
    [
        "--label_nc 5 --use_instance --label_feat --feat_num 2",
        "--label_nc 5 --no_first_img",
        "--label_nc 5 --n_frames_G 2 --n_scales_spatial 2",
    ],
)
def test_rounding_error_grows_but_stays_far_below_a_gray_level(flags: str) -> None:
    found = differences(flags, double=False)
    assert max(found) < 1e-3 and max(found[:3]) < 2e-5  # a grey level is 8e-3


def test_sequences_of_equal_size_share_a_batch_until_they_end() -> None:
    options, batches = tiny_options("--label_nc 5"), []

    def watched(networks, conditions, history, **how):
        batches.append(len(history.images[0]))
        return generate_frame(networks, conditions, history, **how)

    config = replace(configs.synthesis_config(options), generate_frame=watched)
    frames = synthesize_batched(
        tiny_networks(options).netG, sequences(), first_frame.get_real_images, config, CPU
    )
    assert [number for number, _, _ in frames] == [0, 1, 3, 4, 0, 3, 4, 0, 3, 4, 0, 3, 3]
    assert batches == [3, 1, 2, 1, 2, 1, 2, 1]


def test_single_sequence_is_bitwise_equal_and_read_lazily() -> None:
    options, read = tiny_options("--label_nc 5"), []

    def counted(clips):
        for clip in clips:
            read.append(clip)
            yield clip

    networks, config, clips = (
        tiny_networks(options).netG,
        configs.synthesis_config(options),
        sequences()[0],
    )
    expected = [
        image for _, image in synthesize(networks, clips, first_frame.get_real_images, config, CPU)
    ]
    frames = synthesize_batched(
        networks, [counted(clips)], first_frame.get_real_images, config, CPU
    )
    for number, (_, _, image) in enumerate(frames):
        assert torch.equal(image, expected[number]) and len(read) == number + 3
