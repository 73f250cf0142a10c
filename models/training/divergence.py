"""Warn when a run no longer learns: a discriminator wins, or the generated image becomes constant."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.losses.vid2vid import LossConfig
from models.networks.collection import get_face_n_scales
from util.distributed.amp import promote_to_float32

# The loss per scale, on real or on fake images, of a discriminator that cannot tell them apart.
CHANCE_LOSS = {"ls": 0.25, "original": math.log(2), "hinge": 1.0}

UNHEALTHY_THRESHOLD = 0.05
RECOVERY_THRESHOLD = 2 * UNHEALTHY_THRESHOLD
MIN_REAL_PIXEL_STD = 2 / 255

_DISCRIMINATOR_WARNING = (
    "{name} has overpowered the generator: for about {n_batches} batches its losses on real and on "
    "generated frames have both been below {threshold:.0%} of chance level, so the generator "
    "learns little from it: try --r1, --spectral_norm or a lower --lr, from an earlier epoch "
    "(--load_pretrain, --which_epoch)"
)
_IMAGE_WARNING = (
    "the generated image has become constant: for about {n_batches} batches the standard deviation "
    "of its pixels has been below {threshold:.0%} of the real images': go back to an earlier epoch "
    "(--load_pretrain, --which_epoch) with a lower --lr, --grad_clip or --r1; --ema smooths such "
    "moments for test.py"
)


def compute_pixel_std(fake: Tensor, real: Tensor) -> Tensor:
    """Return the standard deviation over a frame's pixels, averaged over channels and frames.

    Args:
        fake: Generated images (..., H, W).
        real: Real images (..., H, W).

    Returns:
        The values of fake and real, (2,).
    """
    return torch.stack(
        [promote_to_float32(images.detach()).std(dim=(-2, -1)).mean() for images in (fake, real)]
    )


def compute_health_indicators(
    losses: Mapping[str, float], pixel_std: Sequence[float], config: LossConfig
) -> dict[str, float]:
    """Return indicators of a step: 1 is usual, 0 means that training has failed.

    For each discriminator: the larger of its losses on real and fake images, relative to chance
    level. In every `gan_mode`, both are 0 only if the discriminator is always right. For "image":
    the standard deviation of generated pixels relative to that of real ones.
    """
    indicators = {}
    for name, real_loss in losses.items():
        match = re.fullmatch(r"(D|D_f|D_T)_real(\d*)", name)
        if match is None:
            continue
        discriminator, scale = match.groups()
        larger_loss = max(real_loss, losses[name.replace("real", "fake")])
        # The losses are exactly 0 in a clip without a face.
        if larger_loss > 0:
            chance = CHANCE_LOSS[config.gan_mode] * _count_gan_losses(discriminator, config)
            indicators[f"{discriminator}{scale}"] = larger_loss / chance
    fake_std, real_std = pixel_std
    if real_std > MIN_REAL_PIXEL_STD:
        indicators["image"] = fake_std / real_std
    return indicators


def _count_gan_losses(discriminator: str, config: LossConfig) -> int:
    """Return how many losses the logged loss of a discriminator is the sum of."""
    if discriminator == "D_f":
        return get_face_n_scales(config.num_D)
    if discriminator == "D":
        return config.num_D * (1 + config.should_score_raw)
    return config.num_D


@dataclass
class DivergenceMonitor:
    """Keeps running means of health indicators and warns once when one becomes unhealthy.

    Attributes:
        n_batches: Number of batches that the running means cover, about.
        running_means: By indicator; they start at 1.
        unhealthy: Indicators that were warned of and have not recovered.
    """

    n_batches: int = 100
    running_means: dict[str, float] = field(default_factory=dict)
    unhealthy: set[str] = field(default_factory=set)

    def update(self, indicators: Mapping[str, float]) -> list[str]:
        """Add the indicators of a step; return a warning for each that has become unhealthy."""
        for name, indicator in indicators.items():
            mean = self.running_means.get(name, 1.0)
            self.running_means[name] = mean + (min(indicator, 1.0) - mean) / self.n_batches
        self.unhealthy = {
            name for name in self.unhealthy if self.running_means[name] <= RECOVERY_THRESHOLD
        }
        failing = [
            name
            for name in indicators
            if self.running_means[name] < UNHEALTHY_THRESHOLD and name not in self.unhealthy
        ]
        self.unhealthy.update(failing)
        return [self._format_warning(name) for name in failing]

    def _format_warning(self, name: str) -> str:
        text = _IMAGE_WARNING if name == "image" else _DISCRIMINATOR_WARNING
        return text.format(name=name, n_batches=self.n_batches, threshold=UNHEALTHY_THRESHOLD)
