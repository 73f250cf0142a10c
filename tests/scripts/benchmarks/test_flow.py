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


@pytest.mark.parametrize("move", CAMERA_MOTIONS.values(), ids=CAMERA_MOTIONS)
def test_ground_truth_flow_is_backward_flow(move: tuple[float, float, tuple[float, float]]) -> None:
    """scikit-image moved the image, our warp brings it back."""
    pair = warp_photograph(data.astronaut(), (192, 96), move)
    carried = warp(pair.previous[None], pair.flow[None])[0]
    there, not_there = (
        (other - pair.current).abs()[:, pair.visible].mean() for other in (carried, pair.previous)
    )
    assert there < 0.025 and there < not_there / 3
    assert 0.8 < pair.visible.float().mean() < 1


class Oracle(FlowEstimator):
    name, version = "oracle", ""

    def __init__(self, flow: torch.Tensor) -> None:
        self.flow = flow

    def estimate(self, current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        return self.flow[None]


def test_end_point_error_ignores_occluded_pixels() -> None:
    image, flow = (
        torch.zeros(3, 4, 4),
        torch.tensor([3.0, 4.0])[:, None, None].expand(2, 4, 4).clone(),
    )
    visible = torch.ones(4, 4, dtype=torch.bool)
    visible[0] = False
    pair = GroundTruthPair(image, image, flow, visible)
    assert compute_end_point_error(ZeroFlowEstimator(), [pair], CPU) == 5
    wrong_where_hidden = flow.clone()
    wrong_where_hidden[:, 0] = 99
    assert compute_end_point_error(Oracle(wrong_where_hidden), [pair], CPU) == 0


def test_table_row_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.benchmarks.flow.FLOW_BENCHMARK_SIZES", ((64, 32),))
    (line,) = measure_flow_rows(ZeroFlowEstimator(), CPU)
    assert line[:3] == ("none", CPU, "64x32") and len(line) == 3 + len(CAMERA_MOTIONS) + 1 + 2
    assert all(float(error) > 0 for error in line[3:7])
