"""Tensors in, scalars out (SPEC 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from util.distributed.amp import promote_to_float32

GANMode = Literal["ls", "original", "hinge"]
_PROBABILITY_EPS = 1e-4  # added to probabilities, since a warped map can exclude a label altogether
DiscriminatorOutputs = Sequence[
    Sequence[Tensor]
]  # per scale the feature maps of a discriminator, its score last


def _gan_loss_at_scale(
    score: Tensor, target_is_real: bool, mode: GANMode, for_discriminator: bool
) -> Tensor:
    if mode == "ls":
        return (score - float(target_is_real)).square().mean()
    if mode == "original":
        return F.binary_cross_entropy_with_logits(
            score, torch.full_like(score, float(target_is_real))
        )
    if not for_discriminator:
        return -score.mean()
    return F.relu(1 - score if target_is_real else 1 + score).mean()


def gan_loss(
    outputs: DiscriminatorOutputs,
    target_is_real: bool,
    mode: GANMode,
    for_discriminator: bool = True,
) -> Tensor:
    """How far the scores are from saying `real` (or its opposite), summed over the scales.

    ls: mean squared error to 1 or 0; original: binary cross entropy on logits; hinge: the usual, whose generator side
    (for_discriminator False) is minus the score.
    """
    return torch.stack(
        [
            _gan_loss_at_scale(
                promote_to_float32(scale[-1]), target_is_real, mode, for_discriminator
            )
            for scale in outputs
        ]
    ).sum()


def l1_loss(x: Tensor, y: Tensor) -> Tensor:
    """mean |x - y|, (...) both. The gradient of torch's mean would lie in another order than channels that are last,
    and everything that it meets take ten times as long."""
    return F.l1_loss(x, y, reduction="sum") / x.numel()


def feature_matching_loss(fake: DiscriminatorOutputs, real: DiscriminatorOutputs) -> Tensor:
    """L1 between the feature maps of fake and (detached) real, summed over scales and all layers but the last."""
    terms = [
        l1_loss(promote_to_float32(f), promote_to_float32(r.detach()))
        for fakes, reals in zip(fake, real, strict=True)
        for f, r in zip(fakes[:-1], reals[:-1], strict=True)
    ]
    return torch.stack(terms).sum() if terms else promote_to_float32(fake[0][-1].new_zeros(()))


def label_cross_entropy(probabilities: Tensor, real: Tensor) -> Tensor:
    """Mean over labelled pixels of -log of the real label's probability; both (N, labels, H, W), real one-hot, zeros
    where there is no label."""
    missed = -(real * (promote_to_float32(probabilities) + _PROBABILITY_EPS).log()).sum()
    return missed / real.sum().clamp(min=1)


def masked_l1_loss(x: Tensor, y: Tensor | float, confidence: Tensor) -> Tensor:
    """mean |x C - y C|, C broadcast over channels."""
    return (promote_to_float32(x) * confidence - y * confidence).abs().mean()
