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
from models.networks.labels import (
    SparseOneHot,
    concatenate_conditions,
    one_hot,
    slice_frames,
)
from models.ops.layers import LabelConv2d, LabelReflectionPad2d, sparse_conv7x7

LABELS = 5


def make_condition(features: int = 0, edges: bool = True, n_frames: int = 3) -> SparseOneHot:
    """Return a condition with pixels of no label, whose ids are LABELS or more."""
    torch.manual_seed(0)
    ids = torch.randint(LABELS + 2, (2, n_frames, 1, 11, 14)).byte()
    return SparseOneHot(
        ids,
        LABELS,
        torch.randint(2, ids.shape).float() if edges else None,
        torch.randn(2, n_frames, features, 11, 14) if features else None,
    )


@pytest.mark.parametrize("is_summed", [True, False])
@pytest.mark.parametrize(("features", "edges"), [(0, False), (0, True), (2, False), (3, True)])
def test_sparse_convolution_equals_dense_convolution(
    features: int, edges: bool, is_summed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.ops.dispatch.MIN_FEATURE_MAP_SIZE", 0 if is_summed else 2**30)
    condition = make_condition(features, edges)
    dense = condition.to_dense()
    assert dense.shape == condition.shape
    conv = LabelConv2d(dense.shape[1] * dense.shape[2], 4, 7)
    stage = torch.nn.Sequential(LabelReflectionPad2d(3), conv).double()
    double_condition = SparseOneHot(
        condition.ids,
        LABELS,
        condition.edges,
        None if condition.features is None else condition.features.double(),
    )
    expected_output, output = stage(dense.flatten(1, 2).double()), stage(double_condition)
    torch.testing.assert_close(output, expected_output, rtol=0, atol=1e-12)
    grad_output, weights = torch.randn_like(expected_output), tuple(stage.parameters())
    expected = torch.autograd.grad(expected_output, weights, grad_output)
    for y in (output, checkpoint_stage(stage, double_condition)):
        for one, other in zip(torch.autograd.grad(y, weights, grad_output), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("features", [0, 2])
def test_sparse_pooling_equals_dense_pooling(features: int) -> None:
    condition = make_condition(features)
    for one, other in zip(
        build_condition_pyramid(condition, 3)[1:],
        build_pyramid(condition.to_dense(), 3)[1:],
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_slicing_and_concatenating_frames_are_inverse() -> None:
    condition = make_condition(2)
    joined = concatenate_conditions([slice_frames(condition, t, t + 1) for t in range(3)])
    assert torch.equal(joined.to_dense(), condition.to_dense())
    assert torch.equal(
        slice_frames(condition, 1, 3).to_dense(), slice_frames(condition.to_dense(), 1, 3)
    )


def test_mask_is_the_sum_of_its_one_hot_channels() -> None:
    condition = make_condition()
    assert torch.equal(
        condition.mask((1, 3)), condition.to_dense()[:, -1, [1, 3]].sum(1, keepdim=True)
    )
    assert F.max_pool2d(condition.mask(range(LABELS)), 3).max() == 1


def test_256_labels_fit() -> None:
    """With as many labels as uint8 has values, every id is a label."""
    ids = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 16, 16)
    condition = SparseOneHot(ids, 256)
    assert one_hot(ids, 256).sum() == 256 and condition.to_dense().argmax(
        2
    ).flatten().tolist() == list(range(256))
    weight = torch.randn(3, 256, 7, 7)
    expected = F.conv2d(F.pad(condition.to_dense()[:, 0], (3, 3, 3, 3), mode="reflect"), weight)
    assert torch.allclose(sparse_conv7x7(condition, weight, None), expected, atol=1e-4)
    assert torch.allclose(condition.avg_pool_half(), avg_pool_half(condition.to_dense()), atol=1e-6)
