import pytest
import torch
from skimage import data

from models.flow import NoFlow, ReferenceFlow
from models.warp import warp
from scripts.flow_table import MOVES, KnownPair, end_point_error, moved_photograph, rows

CPU = torch.device("cpu")


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_the_known_flow_is_backward_flow(move: tuple[float, float, tuple[float, float]]) -> None:
    """scikit-image moved the picture, our warp brings it back."""
    pair = moved_photograph(data.astronaut(), (192, 96), move)
    carried = warp(pair.previous[None], pair.flow[None])[0]
    there, not_there = ((other - pair.current).abs()[:, pair.visible].mean() for other in (carried, pair.previous))
    assert there < 0.025 and there < not_there / 3
    assert 0.8 < pair.visible.float().mean() < 1


class Oracle(ReferenceFlow):
    name, version = "oracle", ""

    def __init__(self, flow: torch.Tensor) -> None:
        self.flow = flow

    def vectors(self, current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        return self.flow[None]


def test_end_point_error() -> None:
    picture, flow = torch.zeros(3, 4, 4), torch.tensor([3.0, 4.0])[:, None, None].expand(2, 4, 4).clone()
    visible = torch.ones(4, 4, dtype=torch.bool)
    visible[0] = False
    pair = KnownPair(picture, picture, flow, visible)
    assert end_point_error(NoFlow(), [pair], CPU) == 5
    wrong_where_hidden = flow.clone()
    wrong_where_hidden[:, 0] = 99
    assert end_point_error(Oracle(wrong_where_hidden), [pair], CPU) == 0


def test_a_line_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.flow_table.SIZES", ((64, 32),))
    (line,) = rows(NoFlow(), CPU)
    assert line[:3] == ("none", CPU, "64x32") and len(line) == 3 + len(MOVES) + 1 + 2
    assert all(float(error) > 0 for error in line[3:7])
