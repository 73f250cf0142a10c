"""What tells that a run trains on but learns no more: a discriminator that has won, a picture that is constant."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.networks import face_scales
from models.objectives import ObjectiveConfig, Window
from util.placement.precision import widened

GUESSING = {"ls": 0.25, "original": math.log(2), "hinge": 1.0}  # a score's loss, real or fake, of who cannot tell
LOW = 0.05  # of what is usual: below it a sign is bad
RECOVERED = 2 * LOW  # above it, it is good again
GREY_LEVEL = 2 / 255

ADVICE = {
    "discriminator": "{} has won: for about {} batches its losses on real and on generated frames have both been under "
                     "{:.0%} of what guessing costs, so it tells the generator little: try --r1, --spectral_norm or a "
                     "lower --lr, from an earlier epoch (--load_pretrain, --which_epoch)",
    "picture": "the generated {} has become constant: for about {} batches its pixels have spread under {:.0%} as far "
               "as the real ones': go back to an earlier epoch (--load_pretrain, --which_epoch) with a lower --lr, "
               "--grad_clip or --r1; --ema evens out such moments for test.py"}


def spreads(window: Window) -> Tensor:
    """(2,): the standard deviation over a frame's pixels, the mean of all channels and frames: generated, real."""
    return torch.stack([widened(pictures.detach()).std(dim=(-2, -1)).mean()
                        for pictures in (window.frames.picture, window.real)])


def signs(losses: Mapping[str, float], spread: Sequence[float], config: ObjectiveConfig) -> dict[str, float]:
    """How a step stands, 1 being usual and 0 lost: of each discriminator the larger of its two losses over that of one
    that cannot tell real from fake (in every `gan_mode` both are 0 only where the generator's is as high as it gets),
    and how far the generated pixels spread over how far the real ones do."""
    found = {}
    for name, real in losses.items():
        parts = re.fullmatch(r"(D|D_f|D_T)_real(\d*)", name)
        worse = max(real, losses[name.replace("real", "fake")]) if parts else 0.0
        if parts and worse > 0:  # exactly 0: a clip without a face
            found["".join(parts.groups())] = worse / (GUESSING[config.gan_mode] * _scores(parts[1], config))
    generated, real = spread
    return found | ({"picture": generated / real} if real > GREY_LEVEL else {})


def _scores(discriminator: str, config: ObjectiveConfig) -> int:
    """How many a loss sums up: of every scale, and for single pictures of all that are judged."""
    scales = face_scales(config.num_D) if discriminator == "D_f" else config.num_D
    return scales * (1 + config.count_raw if discriminator == "D" else 1)


@dataclass
class Watch:
    """Running means of signs over about `batches`, beginning with all well; what is `bad` has been told and is told
    again only after it was good in between."""

    batches: int = 100
    means: dict[str, float] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)

    def see(self, found: Mapping[str, float]) -> list[str]:
        """found: a batch's `signs`. A line for each that has just become bad."""
        for name, sign in found.items():
            before = self.means.get(name, 1.0)
            self.means[name] = before + (min(sign, 1.0) - before) / self.batches
        self.bad -= {name for name in self.bad if self.means[name] > RECOVERED}
        fresh = [name for name in found if self.means[name] < LOW and name not in self.bad]
        self.bad.update(fresh)
        return [ADVICE["picture" if name == "picture" else "discriminator"].format(name, self.batches, LOW)
                for name in fresh]
