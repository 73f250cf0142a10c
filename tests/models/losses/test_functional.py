"""Loss functions, against their formulas in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.losses.functional import (
    GANMode,
    feature_matching_loss,
    gan_loss,
    l1_loss,
    masked_l1_loss,
)


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SCORES = [
    [random_tensor(2, 1, 5, 6)],
    [random_tensor(2, 1, 3, 3, seed=1)],
]  # two scales of unequal size


def expected_gan_loss(mode: GANMode, real: bool, for_discriminator: bool) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for (score,) in SCORES:
        if mode == "ls":
            total = total + ((score - (1 if real else 0)) ** 2).mean()
        elif mode == "original":
            probability = torch.sigmoid(score)
            total = total - (probability if real else 1 - probability).log().mean()
        elif for_discriminator:
            total = total + torch.clamp(1 + (-score if real else score), min=0).mean()
        else:
            total = total - score.mean()
    return total


@pytest.mark.parametrize("mode", ["ls", "original", "hinge"])
@pytest.mark.parametrize(
    ("real", "for_discriminator"), [(True, True), (False, True), (True, False)]
)
def test_gan_losses_match_their_formulas_summed_over_scales(
    mode: GANMode, real: bool, for_discriminator: bool
) -> None:
    torch.testing.assert_close(
        gan_loss(SCORES, real, mode, for_discriminator),
        expected_gan_loss(mode, real, for_discriminator),
    )


@pytest.mark.parametrize("mode", ["ls", "original", "hinge"])
def test_only_the_last_map_is_the_score(mode: GANMode) -> None:
    with_features = [[random_tensor(2, 8, 9, 9, seed=7), *scale] for scale in SCORES]
    assert gan_loss(with_features, True, mode) == gan_loss(SCORES, True, mode)


@pytest.mark.parametrize("mode", ["ls", "original", "hinge"])
def test_generator_loss_falls_with_fake_scores_and_discriminator_loss_with_separation(
    mode: GANMode,
) -> None:
    score = torch.zeros(1, 1, 2, 2, requires_grad=True)
    slopes = [
        torch.autograd.grad(gan_loss([[score]], *args), score)[0].sum()
        for args in ((True, mode, False), (True, mode, True), (False, mode, True))
    ]
    assert slopes[0] < 0 and slopes[1] < 0
    assert slopes[2] > 0 or mode == "ls"  # 0 is the target of a fake in least squares


def test_feature_matching_is_l1_without_scores_and_without_real_gradients() -> None:
    fake = [
        [random_tensor(1, 4, 5, 5).requires_grad_(), random_tensor(1, 1, 3, 3)],
        [random_tensor(1, 4, 2, 2, seed=2), random_tensor(1, 1, 1, 1)],
    ]
    real = [
        [random_tensor(1, 4, 5, 5, seed=3).requires_grad_(), random_tensor(1, 1, 3, 3)],
        [random_tensor(1, 4, 2, 2, seed=4), random_tensor(1, 1, 1, 1)],
    ]
    loss = feature_matching_loss(fake, real)
    torch.testing.assert_close(
        loss, F.l1_loss(fake[0][0], real[0][0]) + F.l1_loss(fake[1][0], real[1][0])
    )
    loss.backward()
    assert fake[0][0].grad is not None and real[0][0].grad is None


def test_feature_matching_without_features_is_zero() -> None:
    assert feature_matching_loss(SCORES, SCORES) == 0


def test_masked_l1_spreads_the_confidence_over_channels() -> None:
    x, y, confidence = (
        random_tensor(2, 3, 4, 5),
        random_tensor(2, 3, 4, 5, seed=1),
        random_tensor(2, 1, 4, 5, seed=2).abs(),
    )
    total = sum(
        abs(float(x[n, c, i, j] - y[n, c, i, j]) * float(confidence[n, 0, i, j]))
        for n in range(2)
        for c in range(3)
        for i in range(4)
        for j in range(5)
    )
    assert float(masked_l1_loss(x, y, confidence)) == pytest.approx(total / x.numel())
    assert float(masked_l1_loss(x, 0.0, confidence)) == pytest.approx(
        float((x.abs() * confidence).mean())
    )
    assert masked_l1_loss(x, y, torch.zeros_like(confidence)) == 0


def test_l1_gradient_has_the_memory_format_of_its_input() -> None:
    x = random_tensor(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = random_tensor(2, 3, 4, 5, seed=1).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(l1_loss(x, y), F.l1_loss(x, y), rtol=1e-14, atol=0)
    (gradient,) = torch.autograd.grad(l1_loss(x, y), x)
    (expected,) = torch.autograd.grad(F.l1_loss(x, y), x)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0)
    assert gradient.is_contiguous(memory_format=torch.channels_last)
