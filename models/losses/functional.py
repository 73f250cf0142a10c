"""Losses as pure functions: tensors in, scalars out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from util.distributed.amp import promote_to_float32

GANMode = Literal["ls", "original", "hinge"]

# Per scale (finest first): the feature maps of a discriminator; the last map is its score.
DiscriminatorOutputs = Sequence[Sequence[Tensor]]

# A label's probability can be exactly 0 where the warped map excludes it; the log must stay finite.
_PROBABILITY_EPS = 1e-4


def gan_loss(
    outputs: DiscriminatorOutputs,
    target_is_real: bool,
    mode: GANMode,
    for_discriminator: bool = True,
) -> Tensor:
    """Return the adversarial loss of a discriminator's scores, summed over its scales.

    Args:
        outputs: The discriminator's outputs; only the scores are read.
        target_is_real: Whether the scores should say "real".
        mode: `ls`: mean squared error to 1 (real) or 0 (fake). `original`: binary cross-entropy on
            logits. `hinge`: the hinge loss; for the generator it is minus the mean score.
        for_discriminator: Whether the loss is the discriminator's own. Only `hinge` differs.
    """
    losses = [
        _gan_loss_at_scale(promote_to_float32(maps[-1]), target_is_real, mode, for_discriminator)
        for maps in outputs
    ]
    return torch.stack(losses).sum()


def _gan_loss_at_scale(
    score: Tensor, target_is_real: bool, mode: GANMode, for_discriminator: bool
) -> Tensor:
    target = float(target_is_real)
    if mode == "ls":
        return (score - target).square().mean()
    if mode == "original":
        return F.binary_cross_entropy_with_logits(score, torch.full_like(score, target))
    if not for_discriminator:
        return -score.mean()
    return F.relu(1 - score if target_is_real else 1 + score).mean()


def feature_matching_loss(fake: DiscriminatorOutputs, real: DiscriminatorOutputs) -> Tensor:
    """Return the L1 distance of fake and real feature maps, summed over scales and layers.

    The score (the last map of a scale) does not count. No gradient reaches `real`.
    """
    losses = [
        l1_loss(promote_to_float32(fake_map), promote_to_float32(real_map.detach()))
        for fake_maps, real_maps in zip(fake, real, strict=True)
        for fake_map, real_map in zip(fake_maps[:-1], real_maps[:-1], strict=True)
    ]
    if not losses:
        return promote_to_float32(fake[0][-1].new_zeros(()))
    return torch.stack(losses).sum()


def r1_penalty(discriminator: Callable[[Tensor], DiscriminatorOutputs], inputs: Tensor) -> Tensor:
    """Return the R1 gradient penalty at real inputs (Mescheder et al., 2018).

    The penalty is the squared norm of the gradient of an input's mean score with respect to the
    input, where the score is summed over the scales, averaged over the batch.

    Args:
        discriminator: Must be twice differentiable.
        inputs: Real inputs (N, C, H, W).
    """
    inputs = inputs.detach().requires_grad_()
    outputs = discriminator(inputs)
    scores = torch.stack([maps[-1].mean(dim=(1, 2, 3)).sum() for maps in outputs]).sum()
    (gradient,) = torch.autograd.grad(scores, inputs, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def l1_loss(x: Tensor, y: Tensor) -> Tensor:
    """Return mean |x - y| of two tensors of one shape.

    The sum is divided by hand: the gradient of torch's own mean is contiguous, and operations that
    mix it with channels_last tensors take ten times as long.
    """
    return F.l1_loss(x, y, reduction="sum") / x.numel()


def masked_l1_loss(x: Tensor, y: Tensor | float, confidence: Tensor) -> Tensor:
    """Return mean |x C - y C| for a confidence map C that is broadcast over the channels."""
    return (promote_to_float32(x) * confidence - y * confidence).abs().mean()


def label_cross_entropy(probabilities: Tensor, real: Tensor) -> Tensor:
    """Return the mean of -log(probability of the real label) over the labeled pixels.

    Args:
        probabilities: (N, labels, H, W).
        real: One-hot labels (N, labels, H, W); all zeros where a pixel has no label.
    """
    log_probabilities = (promote_to_float32(probabilities) + _PROBABILITY_EPS).log()
    total = -(real * log_probabilities).sum()
    return total / real.sum().clamp(min=1)
