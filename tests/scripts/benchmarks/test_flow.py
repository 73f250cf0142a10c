"""The benchmark of flow estimators: its ground truth, its error, its table."""

import pytest
import torch
from skimage import data

from models.flow import FlowEstimator, ZeroFlowEstimator
from models.flow.warp import warp
from scripts.benchmarks.flow import (
    CAMERA_MOTIONS,
    GroundTruthPair,
    compute_end_point_error,
    measure_flow_rows,
    warp_photograph,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("motion", CAMERA_MOTIONS.values(), ids=CAMERA_MOTIONS)
def test_ground_truth_flow_is_backward_flow(
    motion: tuple[float, float, tuple[float, float]],
) -> None:
    """Warping the previous image by the flow reproduces the image that scikit-image moved."""
    pair = warp_photograph(data.astronaut(), (192, 96), motion)
    warped = warp(pair.previous[None], pair.flow[None])[0]
    error = (warped - pair.current).abs()[:, pair.visible].mean()
    error_without_flow = (pair.previous - pair.current).abs()[:, pair.visible].mean()
    assert error < 0.025
    assert error < error_without_flow / 3
    assert 0.8 < pair.visible.float().mean() < 1


class ConstantFlowEstimator(FlowEstimator):
    name, version = "constant", ""

    def __init__(self, flow: torch.Tensor) -> None:
        self.flow = flow

    def estimate(self, current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        return self.flow[None]


def test_end_point_error_ignores_occluded_pixels() -> None:
    image = torch.zeros(3, 4, 4)
    flow = torch.tensor([3.0, 4.0])[:, None, None].expand(2, 4, 4).clone()
    visible = torch.ones(4, 4, dtype=torch.bool)
    visible[0] = False
    pair = GroundTruthPair(image, image, flow, visible)
    assert compute_end_point_error(ZeroFlowEstimator(), [pair], CPU) == 5
    wrong_where_occluded = flow.clone()
    wrong_where_occluded[:, 0] = 99
    assert compute_end_point_error(ConstantFlowEstimator(wrong_where_occluded), [pair], CPU) == 0


def test_table_row_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.benchmarks.flow.FLOW_BENCHMARK_SIZES", ((64, 32),))
    (row,) = measure_flow_rows(ZeroFlowEstimator(), CPU)
    assert row[:3] == ("none", CPU, "64x32")
    assert len(row) == 3 + len(CAMERA_MOTIONS) + 1 + 2
    assert all(float(error) > 0 for error in row[3:7])
