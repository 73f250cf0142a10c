"""Encoding of conditions as network inputs."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from models.networks.input_encoding import ConditionConfig, get_edges, one_hot, pad_clip
from util.clip import Clip


def random_ids(*shape: int, most: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, most, shape, generator=torch.Generator().manual_seed(seed))


def street_clip(height: int, width: int) -> Clip:
    return Clip(
        random_ids(2, 4, 1, height, width, most=5).byte(),
        torch.rand(2, 4, 3, height, width),
        random_ids(2, 4, 1, height, width, most=3, seed=1).int(),
        names=(("a",) * 4,) * 2,
        window_size=2,
    )


def test_one_hot_equals_torch_one_hot() -> None:
    labels = random_ids(2, 3, 1, 4, 5, most=7).byte()
    expected = F.one_hot(labels.long().squeeze(2), 7).movedim(-1, 2).float()
    assert torch.equal(one_hot(labels, 7), expected)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 999))
def test_edges_are_where_a_neighbour_differs(height: int, width: int, seed: int) -> None:
    labels = random_ids(1, 1, height, width, most=3, seed=seed).int()
    slow = torch.zeros(1, 1, height, width)
    for y in range(height):
        for x in range(width):
            neighbors = [
                (y + dy, x + dx)
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
                if 0 <= y + dy < height and 0 <= x + dx < width
            ]
            slow[0, 0, y, x] = any(labels[0, 0, y, x] != labels[0, 0, a, b] for a, b in neighbors)
    assert torch.equal(get_edges(labels), slow)


def test_large_instance_ids_are_distinguished() -> None:
    big = torch.tensor([[26001, 26002], [2**31 - 1, 2**31 - 2]], dtype=torch.int32)[None, None]
    assert get_edges(big).all()


def test_label_channels_precede_the_edge_channel() -> None:
    clip = street_clip(6, 8)
    condition = ConditionConfig(label_nc=5, instance_edges=True).encode_dense(clip)
    assert condition.shape == (2, 4, 6, 6, 8) and condition.dtype == torch.float32
    assert torch.equal(condition[:, :, :5], one_hot(clip.condition, 5))
    assert torch.equal(condition[:, :, 5:], get_edges(clip.instance))


def test_image_conditions_are_not_encoded() -> None:
    image = torch.rand(1, 3, 3, 4, 4)
    clip = Clip(image, None, None, names=(("a",) * 3,))
    assert ConditionConfig(label_nc=0, instance_edges=False).encode_dense(clip) is image


@pytest.mark.parametrize(("height", "width"), [(5, 7), (8, 9), (13, 16)])
def test_padding_repeats_the_border_of_every_map(height: int, width: int) -> None:
    clip, padded = street_clip(height, width), pad_clip(street_clip(height, width), 8)
    tall, wide = -(-height // 8) * 8, -(-width // 8) * 8
    expected = F.pad(
        clip.condition.float().flatten(0, 1), (0, wide - width, 0, tall - height), mode="replicate"
    )
    assert torch.equal(padded.condition.float().flatten(0, 1), expected)
    assert padded.condition.dtype == torch.uint8 and padded.instance.dtype == torch.int32
    assert {padded.image.shape[-2:], padded.instance.shape[-2:]} == {(tall, wide)}
    assert torch.equal(padded.image[..., -1, :], padded.image[..., height - 1, :])
    assert padded.window_size == clip.window_size and padded.names == clip.names


def test_clip_of_matching_size_is_not_padded() -> None:
    clip = street_clip(8, 16)
    assert pad_clip(clip, 8) is clip
