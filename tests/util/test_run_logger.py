import re

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from util.log import LossLog, format_loss_line, open_tensorboard_logger


def test_loss_line_sorts_rounds_and_leaves_out_exact_zeros():
    terms = {"G_VGG": 12.34567, "D_real": 0.25, "G_T_Warp": 0.0, "F_Flow": 0.0001, "G_T_GAN0": -1}
    assert format_loss_line(3, 40, 1.23456, terms) == (
        "(epoch: 3, iters: 40, time: 1.235) D_real: 0.250 F_Flow: 0.000 G_T_GAN0: -1.000 G_VGG: 12.346"
    )


def test_loss_line_reports_non_finite_values():
    assert (
        format_loss_line(1, 1, 0, {"D": float("nan")}) == "(epoch: 1, iters: 1, time: 0.000) D: nan"
    )


def test_loss_log_appends_over_restarts(tmp_path):
    path = tmp_path / "run/loss_log.txt"
    first = LossLog(path)
    first.write_header()
    line = first.add(1, 1, 0.5, {"D": 1.0})
    assert path.read_text().endswith(line + "\n")  # on disk while the log is still in use
    second = LossLog(path)
    second.write_header()
    second.add(1, 2, 0.5, {"D": 2.0})
    lines = path.read_text().splitlines()
    assert [
        bool(re.fullmatch(r"=+ started \d{4}-\d\d-\d\d [\d:]{8} =+", entry)) for entry in lines
    ] == [True, False, True, False]
    assert lines[1::2] == [
        format_loss_line(1, 1, 0.5, {"D": 1.0}),
        format_loss_line(1, 2, 0.5, {"D": 2.0}),
    ]


@pytest.mark.parametrize("wanted", [True, False])
def test_tensorboard_logger_writes_scalars_and_images(tmp_path, wanted):
    with open_tensorboard_logger(tmp_path / "logs", wanted) as board:
        board.log_scalars(7, {"D": 0.5})
        board.log_images(7, {"generated": np.full((4, 6, 3), 9, np.uint8)})
    if not wanted:
        assert not (tmp_path / "logs").exists()
        return
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("D")] == [(7, 0.5)]
    assert [(e.step, e.height, e.width) for e in events.Images("generated")] == [(7, 4, 6)]
