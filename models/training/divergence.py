"""What tells that a run trains on but learns no more: a discriminator that has won, an image that is constant."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.losses.vid2vid import GeneratedWindow, LossConfig
from models.networks.collection import get_face_n_scales
from util.distributed.amp import promote_to_float32

CHANCE_LOSS = {
    "ls": 0.25,
    "original": math.log(2),
    "hinge": 1.0,
}  # a score's loss, real or fake, of who cannot tell
UNHEALTHY_THRESHOLD = 0.05  # of what is usual: below it a sign is bad
RECOVERY_THRESHOLD = 2 * UNHEALTHY_THRESHOLD  # above it, it is good again
MIN_REAL_PIXEL_STD = 2 / 255

_WARNING_TEXTS = {
    "discriminator": "{} has won: for about {} batches its losses on real and on generated frames have both been under "
    "{:.0%} of what guessing costs, so it tells the generator little: try --r1, --spectral_norm or a "
    "lower --lr, from an earlier epoch (--load_pretrain, --which_epoch)",
    "image": "the generated {} has become constant: for about {} batches its pixels have spread under {:.0%} as far "
    "as the real ones': go back to an earlier epoch (--load_pretrain, --which_epoch) with a lower --lr, "
    "--grad_clip or --r1; --ema evens out such moments for test.py",
}


def compute_pixel_std(window: GeneratedWindow) -> Tensor:
    """(2,): the standard deviation over a frame's pixels, the mean of all channels and frames: generated, real."""
    return torch.stack(
        [
            promote_to_float32(images.detach()).std(dim=(-2, -1)).mean()
            for images in (window.output.image, window.real)
        ]
    )


def compute_health_indicators(
    losses: Mapping[str, float], pixel_std: Sequence[float], config: LossConfig
) -> dict[str, float]:
    """How a step stands, 1 being usual and 0 lost: of each discriminator the larger of its two losses over that of one
    that cannot tell real from fake (in every `gan_mode` both are 0 only where the generator's is as high as it gets),
    and how far the generated pixels spread over how far the real ones do."""
    found = {}
    for name, real in losses.items():
        parts = re.fullmatch(r"(D|D_f|D_T)_real(\d*)", name)
        worse = max(real, losses[name.replace("real", "fake")]) if parts else 0.0
        if parts and worse > 0:  # exactly 0: a clip without a face
            found["".join(parts.groups())] = worse / (
                CHANCE_LOSS[config.gan_mode] * _count_gan_losses(parts[1], config)
            )
    generated, real = pixel_std
    return found | ({"image": generated / real} if real > MIN_REAL_PIXEL_STD else {})


def _count_gan_losses(discriminator: str, config: LossConfig) -> int:
    """How many a loss sums up: of every scale, and for single images of all that are judged."""
    scales = get_face_n_scales(config.num_D) if discriminator == "D_f" else config.num_D
    return scales * (1 + config.should_score_raw if discriminator == "D" else 1)


@dataclass
class DivergenceMonitor:
    """Running means of signs over about `batches`, beginning with all well; what is `bad` has been told and is told
    again only after it was good in between."""

    n_batches: int = 100
    running_means: dict[str, float] = field(default_factory=dict)
    unhealthy: set[str] = field(default_factory=set)

    def update(self, indicators: Mapping[str, float]) -> list[str]:
        """found: a batch's `signs`. A line for each that has just become bad."""
        for name, sign in indicators.items():
            before = self.running_means.get(name, 1.0)
            self.running_means[name] = before + (min(sign, 1.0) - before) / self.n_batches
        self.unhealthy -= {
            name for name in self.unhealthy if self.running_means[name] > RECOVERY_THRESHOLD
        }
        fresh = [
            name
            for name in indicators
            if self.running_means[name] < UNHEALTHY_THRESHOLD and name not in self.unhealthy
        ]
        self.unhealthy.update(fresh)
        return [
            _WARNING_TEXTS["image" if name == "image" else "discriminator"].format(
                name, self.n_batches, UNHEALTHY_THRESHOLD
            )
            for name in fresh
        ]
