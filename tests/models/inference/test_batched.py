"""Tests of batched sequences: results equal those of single sequences, whatever the lengths and sizes."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.inference import first_frame
from models.inference.batched import synthesize_batched, synthesize_sequences
from models.inference.instance_features import RegionFeatures
from models.inference.synthesizer import SynthesisConfig, Synthesizer
from models.networks.rollout import generate_frame
from options import configs
from tests.tiny import split_frames, street_clip, tiny_networks, tiny_options
from util.clip import Clip

SHAPES = [(6, 20, 28), (3, 20, 28), (2, 20, 28), (7, 20, 28), (5, 16, 24)]  # frames, height, width


def make_sequences(label_nc: int = 5) -> list[list[Clip]]:
    """One sequence of each shape, with different content even where shapes are equal."""
    clip = street_clip(7, 20, 28, batch=len(SHAPES), label_nc=max(label_nc, 1))
    if not label_nc:
        clip = replace(clip, condition=clip.image.flip(1))
    sequences = []
    for b, (n_frames, height, width) in enumerate(SHAPES):
        sequence = clip.slice_batch(b, b + 1).slice_frames(0, n_frames)
        sequences.append(split_frames(crop(sequence, height, width)))
    return sequences


def crop(clip: Clip, height: int, width: int) -> Clip:
    return clip.apply(lambda tensor: tensor[..., :height, :width])


def to_double(clip: Clip) -> Clip:
    return clip.apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def sample_features(labels: Mapping[int, int]) -> RegionFeatures:
    return {region: np.array([label / 5, region / 3]) for region, label in labels.items()}


def compute_differences(flags: str, double: bool) -> list[float]:
    """Largest difference of each frame between batched and single-sequence synthesis."""
    options = tiny_options(flags)
    netG, sequences = tiny_networks(options).netG, make_sequences(options.label_nc)
    if double:
        netG = netG.double()
        sequences = [[to_double(clip) for clip in clips] for clips in sequences]
    sampler = sample_features if options.label_feat else None
    config = SynthesisConfig.from_model_config(configs.model_config(options), sampler)
    get_first_images = (
        first_frame.make_zero_images if options.no_first_img else first_frame.get_real_images
    )
    synthesizer = Synthesizer.from_generators(netG, config, get_first_images)
    batched = defaultdict(list)
    for index, clip, image in synthesize_batched(synthesizer, sequences):
        batched[index].append((clip.names, image))
    differences = []
    for index, clips in enumerate(sequences):
        expected = [image for _, image in synthesizer.synthesize(clips)]
        names = [clip.names for clip in clips[options.n_frames_G - 1 :]]
        assert [frame_names for frame_names, _ in batched[index]] == names
        for (_, image), expected_image in zip(batched[index], expected, strict=True):
            differences.append(float((image - expected_image).abs().max()))
    return differences


@pytest.mark.parametrize(
    "flags",
    [
        "--label_nc 5 --use_instance --fg --fg_labels 1,3",
        "--n_scales_spatial 2",
        "--label_nc 5 --norm instance --no_flow",
    ],
)
def test_batched_sequences_equal_separate_synthesis(flags: str) -> None:
    assert max(compute_differences(flags, double=True)) < 1e-11


@pytest.mark.parametrize(
    "flags",
    [
        "--label_nc 5 --use_instance --label_feat --feat_num 2",
        "--label_nc 5 --no_first_img",
        "--label_nc 5 --n_frames_G 2 --n_scales_spatial 2",
    ],
)
def test_rounding_error_grows_but_stays_far_below_a_gray_level(flags: str) -> None:
    differences = compute_differences(flags, double=False)
    assert max(differences) < 1e-3 and max(differences[:3]) < 2e-5  # a gray level is 8e-3


def test_sequences_of_equal_size_share_a_batch_until_they_end() -> None:
    options, batch_sizes = tiny_options("--label_nc 5"), []

    def record_batch_size(netG, conditions, history, **kwargs):
        batch_sizes.append(len(history.images[0]))
        return generate_frame(netG, conditions, history, **kwargs)

    config = replace(configs.synthesis_config(options), generate_frame=record_batch_size)
    synthesizer = Synthesizer.from_generators(
        tiny_networks(options).netG, config, first_frame.get_real_images
    )
    frames = synthesize_batched(synthesizer, make_sequences())
    assert [index for index, _, _ in frames] == [0, 1, 3, 4, 0, 3, 4, 0, 3, 4, 0, 3, 3]
    assert batch_sizes == [3, 1, 2, 1, 2, 1, 2, 1]


def test_single_sequence_is_bitwise_equal_and_read_lazily() -> None:
    options, read = tiny_options("--label_nc 5"), []

    def record_reads(clips):
        for clip in clips:
            read.append(clip)
            yield clip

    synthesizer = Synthesizer.from_generators(
        tiny_networks(options).netG, configs.synthesis_config(options), first_frame.get_real_images
    )
    clips = make_sequences()[0]
    expected = [image for _, image in synthesizer.synthesize(clips)]
    frames = synthesize_sequences(synthesizer, [record_reads(clips)])
    for number, (_, _, image) in enumerate(frames):
        assert torch.equal(image, expected[number]) and len(read) == number + 3
