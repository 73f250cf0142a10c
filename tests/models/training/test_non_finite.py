"""Gradients that are not finite stop a step; huge ones do not."""

from __future__ import annotations

import math

import pytest
import torch

from models.training.non_finite import NonFiniteError, check_finite_gradients
from tests.tiny import tiny_networks, tiny_options


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_gradients_are_named(value: float) -> None:
    networks = tiny_networks(tiny_options("--label_nc 5"))
    for weight in networks.netD_T.parameters():
        weight.grad = torch.zeros_like(weight)
    next(networks.netD_T[0].parameters()).grad[0, 0, 0, 0] = value
    with pytest.raises(NonFiniteError, match=r"gradients of 1 parameters are not, D_T0\."):
        check_finite_gradients(networks, {})


def test_huge_finite_gradients_are_accepted() -> None:
    networks = tiny_networks(tiny_options("--label_nc 5"))
    for weight in networks.netD_T.parameters():
        weight.grad = torch.full_like(weight, 1e30)  # their squares overflow
    check_finite_gradients(networks, {})
