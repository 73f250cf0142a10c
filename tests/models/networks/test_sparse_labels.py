"""Sparse conditions and their convolution against one-hot tensors."""

import pytest
import torch
import torch.nn.functional as F

from models.networks.blocks import (
    avg_pool_half,
    build_condition_pyramid,
    build_pyramid,
    checkpoint_stage,
)
from models.networks.sparse_labels import (
    SparseOneHot,
    concatenate_conditions,
    one_hot,
    slice_frames,
)
from models.ops.layers import LabelConv2d, LabelReflectionPad2d, sparse_conv7x7

LABELS = 5


def maps(features: int = 0, edges: bool = True, n_frames: int = 3) -> SparseOneHot:
    """With pixels of no label, which have the id LABELS or more."""
    torch.manual_seed(0)
    ids = torch.randint(LABELS + 2, (2, n_frames, 1, 11, 14)).byte()
    return SparseOneHot(
        ids,
        LABELS,
        torch.randint(2, ids.shape).float() if edges else None,
        torch.randn(2, n_frames, features, 11, 14) if features else None,
    )


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize(("features", "edges"), [(0, False), (0, True), (2, False), (3, True)])
def test_sparse_convolution_equals_dense_convolution(
    features: int, edges: bool, summed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.ops.dispatch.MIN_FEATURE_MAP_SIZE", 0 if summed else 2**30)
    seen = maps(features, edges)
    dense = seen.to_dense()
    assert dense.shape == seen.shape
    convolution = LabelConv2d(dense.shape[1] * dense.shape[2], 4, 7)
    stage = torch.nn.Sequential(LabelReflectionPad2d(3), convolution).double()
    exact = SparseOneHot(
        seen.ids, LABELS, seen.edges, None if seen.features is None else seen.features.double()
    )
    plain, fast = stage(dense.flatten(1, 2).double()), stage(exact)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-12)
    towards, weights = torch.randn_like(plain), tuple(stage.parameters())
    expected = torch.autograd.grad(plain, weights, towards)
    for made in (fast, checkpoint_stage(stage, exact)):
        for one, other in zip(torch.autograd.grad(made, weights, towards), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("features", [0, 2])
def test_sparse_pooling_equals_dense_pooling(features: int) -> None:
    seen = maps(features)
    for one, other in zip(
        build_condition_pyramid(seen, 3)[1:], build_pyramid(seen.to_dense(), 3)[1:], strict=True
    ):
        torch.testing.assert_close(one, other)


def test_slicing_and_concatenating_frames_are_inverse() -> None:
    seen = maps(2)
    again = concatenate_conditions([slice_frames(seen, t, t + 1) for t in range(3)])
    assert torch.equal(again.to_dense(), seen.to_dense())
    assert torch.equal(slice_frames(seen, 1, 3).to_dense(), slice_frames(seen.to_dense(), 1, 3))


def test_mask_is_the_sum_of_its_one_hot_channels() -> None:
    seen = maps()
    assert torch.equal(seen.mask((1, 3)), seen.to_dense()[:, -1, [1, 3]].sum(1, keepdim=True))
    assert F.max_pool2d(seen.mask(range(LABELS)), 3).max() == 1


def test_256_labels_fit() -> None:
    """As many as 8 bits hold: an id is then never beyond them."""
    ids = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 16, 16)
    maps = SparseOneHot(ids, 256)
    assert one_hot(ids, 256).sum() == 256 and maps.to_dense().argmax(2).flatten().tolist() == list(
        range(256)
    )
    weight = torch.randn(3, 256, 7, 7)
    expected = F.conv2d(F.pad(maps.to_dense()[:, 0], (3, 3, 3, 3), mode="reflect"), weight)
    assert torch.allclose(sparse_conv7x7(maps, weight, None), expected, atol=1e-4)
    assert torch.allclose(maps.avg_pool_half(), avg_pool_half(maps.to_dense()), atol=1e-6)
