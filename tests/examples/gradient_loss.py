"""Example of a loss: generated images should have the edges of the real ones."""

from __future__ import annotations

from torch import Tensor

from models.losses.functional import l1_loss
from models.losses.vid2vid import GeneratedWindow, Losses, flatten_time


def compute_gradient_losses(window: GeneratedWindow, weight: float) -> Losses:
    """Compute the L1 distance of image gradients, as the generator loss G_Grad.

    Args:
        window: Generated and real frames, (B, T, 3, H, W) each.
        weight: The weight of the loss (a flag such as --lambda_grad).
    """
    fake, real = flatten_time(window.output.image), flatten_time(window.real)
    distance = l1_loss(_gradient_x(fake), _gradient_x(real))
    distance = distance + l1_loss(_gradient_y(fake), _gradient_y(real))
    return Losses(generator={"G_Grad": distance * weight})


def _gradient_x(images: Tensor) -> Tensor:
    return images[..., :, 1:] - images[..., :, :-1]


def _gradient_y(images: Tensor) -> Tensor:
    return images[..., 1:, :] - images[..., :-1, :]
