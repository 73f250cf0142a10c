import re

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from util.log import LossLog, loss_line, open_board


def test_loss_line_sorts_rounds_and_leaves_out_exact_zeros():
    terms = {"G_VGG": 12.34567, "D_real": 0.25, "G_T_Warp": 0.0, "F_Flow": 0.0001, "G_T_GAN0": -1}
    assert loss_line(3, 40, 1.23456, terms) == (
        "(epoch: 3, iters: 40, time: 1.235) D_real: 0.250 F_Flow: 0.000 G_T_GAN0: -1.000 G_VGG: 12.346")


def test_loss_line_of_a_diverged_run_says_so():
    assert loss_line(1, 1, 0, {"D": float("nan")}) == "(epoch: 1, iters: 1, time: 0.000) D: nan"


def test_loss_log_appends_over_restarts(tmp_path):
    path = tmp_path / "run/loss_log.txt"
    first = LossLog(path)
    first.start()
    line = first.add(1, 1, 0.5, {"D": 1.0})
    assert path.read_text().endswith(line + "\n")  # on disk while the log is still in use
    second = LossLog(path)
    second.start()
    second.add(1, 2, 0.5, {"D": 2.0})
    lines = path.read_text().splitlines()
    assert [bool(re.fullmatch(r"=+ started \d{4}-\d\d-\d\d [\d:]{8} =+", entry)) for entry in lines] == [
        True, False, True, False]
    assert lines[1::2] == [loss_line(1, 1, 0.5, {"D": 1.0}), loss_line(1, 2, 0.5, {"D": 2.0})]


@pytest.mark.parametrize("wanted", [True, False])
def test_board(tmp_path, wanted):
    with open_board(tmp_path / "logs", wanted) as board:
        board.scalars(7, {"D": 0.5})
        board.pictures(7, {"generated": np.full((4, 6, 3), 9, np.uint8)})
    if not wanted:
        assert not (tmp_path / "logs").exists()
        return
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("D")] == [(7, 0.5)]
    assert [(e.step, e.height, e.width) for e in events.Images("generated")] == [(7, 4, 6)]
