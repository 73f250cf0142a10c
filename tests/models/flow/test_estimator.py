"""The interface of the reference flow estimators, confidence, and DIS."""

import pickle

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from models.flow import ZeroFlowEstimator, add_confidence
from models.flow.dis import DISFlowEstimator, estimate_dis_flow, to_gray_array
from models.flow.estimator import resize_flow
from util.errors import UserError


@pytest.fixture(scope="module")
def moved_pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Return a photograph shifted by 3 pixels in x and 2 in y: current(p) = previous(p + (3, 2))."""
    pixels = torch.from_numpy(data.astronaut()[:140, 100:300].copy())
    photograph = pixels.permute(2, 0, 1)[None] / 127.5 - 1
    return photograph[..., 2:130, 3:195], photograph[..., 0:128, 0:192]


def test_confidence_follows_the_squared_difference() -> None:
    previous = torch.zeros(1, 3, 4, 4)
    current = previous.clone()
    current[..., 0] = 0.0816  # 3 x 0.0816² = 0.01998
    current[..., 1] = 0.0817  # 3 x 0.0817² = 0.02002
    confidence = add_confidence(torch.zeros(1, 2, 4, 4), current, previous).confidence
    assert confidence.shape == (1, 1, 4, 4) and confidence.dtype == torch.float32
    assert confidence[0, 0, 0].tolist() == [1, 0, 1, 1]


def test_no_flow_is_zero_with_zero_confidence() -> None:
    image = torch.ones(2, 3, 4, 6)
    estimate = ZeroFlowEstimator()(image, image)
    assert estimate.flow.shape == (2, 2, 4, 6) and estimate.confidence.shape == (2, 1, 4, 6)
    assert not estimate.flow.any() and not estimate.confidence.any()


def test_dis_is_backward_flow(moved_pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    current, previous = moved_pair
    estimate = DISFlowEstimator()(current, previous)
    inside = estimate.flow[..., 8:-8, 8:-8]
    assert (inside.mean((0, 2, 3)) - torch.tensor([3.0, 2.0])).abs().max() < 0.2
    assert estimate.confidence[..., 8:-8, 8:-8].mean() > 0.95
    assert add_confidence(-estimate.flow, current, previous).confidence.mean() < 0.8


def test_dis_does_not_mix_pairs_or_sizes(moved_pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """One OpenCV object serves the whole process: earlier images must not affect later results."""
    current, previous = moved_pair
    fresh = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    expected = fresh.calc(to_gray_array(current)[0], to_gray_array(previous)[0], None)
    expected = expected.transpose(2, 0, 1)
    DISFlowEstimator()(previous[..., :64, :96], current[..., :64, :96])
    batch = DISFlowEstimator()(torch.cat([previous, current]), torch.cat([current, previous]))
    np.testing.assert_array_equal(batch.flow[1].numpy(), expected)


def test_dis_is_picklable(moved_pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    DISFlowEstimator()(*moved_pair)
    unpickled = pickle.loads(pickle.dumps(DISFlowEstimator()))
    expected = DISFlowEstimator()(*moved_pair)
    torch.testing.assert_close(unpickled(*moved_pair).flow, expected.flow, rtol=0, atol=0)


def test_gray_conversion_rounds_as_the_uint8_image() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    np.testing.assert_array_equal(to_gray_array(pixels / 127.5 - 1)[0], pixels[0, 0].numpy())


def test_image_too_small_for_dis_is_refused() -> None:
    with pytest.raises(UserError, match="300x8 .*--flow_net none"):
        estimate_dis_flow(np.zeros((8, 300), np.uint8), np.zeros((8, 300), np.uint8))


def test_flow_components_are_scaled_by_their_own_ratios() -> None:
    flow = torch.tensor([3.0, 5.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 6)
    resized = resize_flow(flow, (8, 18))
    assert resized.shape == (1, 2, 8, 18)
    torch.testing.assert_close(
        resized, torch.tensor([9.0, 10.0]).reshape(1, 2, 1, 1).expand(1, 2, 8, 18)
    )
