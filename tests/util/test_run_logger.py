"""Tests of util/run_logger.py."""

import re

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from util.run_logger import format_loss_line, open_run_logger


def open_logger(folder, uses_tensorboard=False):
    return open_run_logger(folder, "run", 64, uses_html=False, uses_tensorboard=uses_tensorboard)


def test_loss_line_sorts_rounds_and_leaves_out_exact_zeros():
    losses = {"G_VGG": 12.34567, "D_real": 0.25, "G_T_Warp": 0.0, "F_Flow": 0.0001, "G_T_GAN0": -1}
    assert format_loss_line(3, 40, 1.23456, losses) == (
        "(epoch: 3, iters: 40, time: 1.235) D_real: 0.250 F_Flow: 0.000 G_T_GAN0: -1.000 G_VGG: 12.346"
    )


def test_loss_line_reports_non_finite_values():
    line = format_loss_line(1, 1, 0, {"D": float("nan")})
    assert line == "(epoch: 1, iters: 1, time: 0.000) D: nan"


def test_loss_log_appends_over_restarts(tmp_path):
    path = tmp_path / "run/loss_log.txt"
    first_line = format_loss_line(1, 1, 0.5, {"D": 1.0})
    second_line = format_loss_line(1, 2, 0.5, {"D": 2.0})
    open_logger(path.parent).log_losses(1, 1, 1, 0.5, {"D": 1.0})
    assert path.read_text().endswith(first_line + "\n")  # on disk although the run goes on
    open_logger(path.parent).log_losses(1, 2, 2, 0.5, {"D": 2.0})
    lines = path.read_text().splitlines()
    header = r"=+ started \d{4}-\d\d-\d\d [\d:]{8} =+"
    assert [bool(re.fullmatch(header, line)) for line in lines] == [True, False, True, False]
    assert lines[1::2] == [first_line, second_line]


@pytest.mark.parametrize("uses_tensorboard", [True, False])
def test_tensorboard_logger_writes_scalars_and_images(tmp_path, uses_tensorboard):
    logger = open_logger(tmp_path, uses_tensorboard)
    logger.log_losses(1, 7, 7, 0.5, {"D": 0.5})
    logger.log_images(1, 7, {"generated": np.full((4, 6, 3), 9, np.uint8)})
    if not uses_tensorboard:
        assert not (tmp_path / "logs").exists()
        return
    events = EventAccumulator(str(tmp_path / "logs")).Reload()  # on disk although not closed
    assert [(e.step, e.value) for e in events.Scalars("D")] == [(7, 0.5)]
    assert [(e.step, e.height, e.width) for e in events.Images("generated")] == [(7, 4, 6)]
