"""Against direct references in float64: the formulas written out, each pass of a discriminator its own."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.flow.warp import warp
from models.losses.temporal_groups import FrameGroups
from models.losses.vid2vid import (
    GeneratedWindow,
    LossConfig,
    Losses,
    compute_face_losses,
    compute_flow_losses,
    compute_image_losses,
    compute_perceptual_losses,
    compute_temporal_losses,
    find_face_box,
    select_scored_images,
    sum_losses,
)
from models.networks.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.networks.generators import GeneratorOutput
from util.clip import FlowEstimate

CONFIG = LossConfig(
    num_D=2, n_layers=2, lambda_feat=7.0, lambda_flow=5.0, lambda_warp=3.0, face_crop_size=16
)
B, T, C, H, W = 2, 3, 4, 32, 40


def number(x: Tensor) -> float:
    return x.detach().item()


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def leaf(*shape: int, seed: int) -> Tensor:
    return draw(*shape, seed=seed).requires_grad_()


def discriminator(
    channels: int, n_scales: int = 2, keep_features: bool = True
) -> MultiScaleDiscriminator:
    torch.manual_seed(0)
    return MultiScaleDiscriminator(
        channels,
        DiscriminatorConfig(width=4, n_layers=2, n_scales=n_scales, returns_features=keep_features),
    ).double()


def a_window(composed: bool = True) -> GeneratedWindow:
    image = leaf(B, T, 3, H, W, seed=1)
    raw = leaf(B, T, 3, H, W, seed=2) if composed else image
    flow = leaf(B, T, 2, H, W, seed=3) if composed else None
    weight = leaf(B, T, 1, H, W, seed=4) if composed else None
    confidence = (draw(B, T, 1, H, W, seed=5) > 0).double()
    return GeneratedWindow(
        condition=draw(B, T, C, H, W, seed=6),
        real=draw(B, T, 3, H, W, seed=7),
        real_prev=draw(B, T, 3, H, W, seed=8),
        output=GeneratorOutput(image, raw, flow, weight),
        fake_prev=draw(B, T, 3, H, W, seed=9),
        reference_flow=FlowEstimate(2 * draw(B, T, 2, H, W, seed=10), confidence),
    )


def image_losses(
    network: MultiScaleDiscriminator, window: GeneratedWindow, config: LossConfig
) -> Losses:
    """Return the image losses of a window's frames."""
    fakes = select_scored_images(window.output, config)
    return compute_image_losses(network, window.condition, window.real, fakes, config)


def merged(x: Tensor) -> Tensor:
    return x.reshape(-1, *x.shape[2:])


def least_squares(scores: list[list[Tensor]], target: float) -> Tensor:
    return sum(((scale[-1] - target) ** 2).mean() for scale in scores)


def matching(fake: list[list[Tensor]], real: list[list[Tensor]], config: LossConfig) -> Tensor:
    gap = sum(
        F.l1_loss(f, r.detach())
        for a, b in zip(fake, real, strict=True)
        for f, r in zip(a[:-1], b[:-1], strict=True)
    )
    return gap * config.lambda_feat * 4 / (config.n_layers + 1) / config.num_D


def separate_passes(
    network: nn.Module, real: Tensor, fakes: list[Tensor], config: LossConfig
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """(generator's loss, discriminator's loss, terms), with a pass for real, detached fake and fake each time."""
    gan = features = d_real = d_fake = torch.zeros((), dtype=torch.float64)
    for fake in fakes:
        d_real = d_real + least_squares(network(real), 1)
        d_fake = d_fake + least_squares(network(fake.detach()), 0)
        scores = network(fake)
        gan, features = (
            gan + least_squares(scores, 1),
            features + matching(scores, network(real), config),
        )
    named = {
        "gan": number(gan),
        "features": number(features),
        "real": number(d_real),
        "fake": number(d_fake),
    }
    return gan + features, (d_real + d_fake) / 2, named


def gradients(
    terms: Losses, network: nn.Module, inputs: list[Tensor]
) -> tuple[tuple[Tensor, ...], ...]:
    """As the trainer asks for them: each side for its own weights."""
    g = torch.autograd.grad(sum_losses(terms.generator.values()), inputs, retain_graph=True)
    d = torch.autograd.grad(
        sum_losses(terms.discriminator.values()) / 2, list(network.parameters())
    )
    return g, d


@pytest.mark.parametrize("composed", [True, False])
def test_one_discriminator_pass_equals_separate_passes(composed: bool) -> None:
    """no_flow: raw is the image, and everything counts twice all the same."""
    window, network = a_window(composed), discriminator(C + 3)
    terms = image_losses(network, window, replace(CONFIG, has_flow=composed))
    fakes = [window.output.image, window.output.raw_image]
    inputs = fakes if composed else fakes[:1]
    condition = merged(window.condition)
    g_loss, d_loss, named = separate_passes(
        network,
        torch.cat([condition, merged(window.real)], 1),
        [torch.cat([condition, merged(fake)], 1) for fake in fakes],
        CONFIG,
    )
    values = {**terms.generator, **terms.discriminator}
    assert {name: number(value) for name, value in values.items()} == pytest.approx(
        {
            "G_GAN": named["gan"],
            "G_GAN_Feat": named["features"],
            "D_real": named["real"],
            "D_fake": named["fake"],
        }
    )
    g, d = gradients(terms, network, inputs)
    torch.testing.assert_close(g, torch.autograd.grad(g_loss, inputs))
    torch.testing.assert_close(d, torch.autograd.grad(d_loss, list(network.parameters())))


def test_no_feature_matching_loss_without_features() -> None:
    terms = image_losses(discriminator(C + 3, keep_features=False), a_window(), CONFIG)
    assert terms.generator["G_GAN_Feat"] == 0 and terms.generator["G_GAN"] > 0


@pytest.mark.parametrize(("composed", "times"), [(True, (1, 1)), (False, (2, 0))])
def test_perceptual_loss_covers_image_and_raw_image(composed: bool, times: tuple[int, int]) -> None:
    window = a_window(composed)

    def distance(fakes: Tensor, real: Tensor) -> Tensor:
        return (fakes.unflatten(0, (-1, len(real))) - real).abs().mean()

    config = replace(CONFIG, has_flow=composed)
    fakes = select_scored_images(window.output, config)
    terms = compute_perceptual_losses(distance, window.real, fakes, config)
    gaps = [
        number((x - window.real).abs().mean())
        for x in (window.output.image, window.output.raw_image)
    ]
    expected = 7.0 * (times[0] * gaps[0] + times[1] * gaps[1])
    assert number(terms.generator["G_VGG"]) == pytest.approx(expected)


def l1(x: Tensor, y: Tensor, confidence: Tensor) -> float:
    return number(((x - y) * merged(confidence)).abs().mean())


def test_flow_losses_match_their_formulas() -> None:
    window, config = a_window(), replace(CONFIG, n_scales=3, uses_weight_penalty=True)
    frames, reference = window.output, window.reference_flow
    terms = {
        name: number(value) for name, value in compute_flow_losses(window, config).generator.items()
    }
    carried = warp(merged(window.fake_prev), merged(reference.flow))
    moved = warp(merged(window.real_prev), merged(frames.flow))
    assert terms == pytest.approx(
        {
            "G_Warp": 3 * l1(merged(frames.image), carried, reference.confidence),
            "F_Flow": 5 / 4 * l1(merged(frames.flow), merged(reference.flow), reference.confidence),
            "F_Warp": 3 * l1(moved, merged(window.real), reference.confidence),
            "W": l1(merged(frames.blend_weight), torch.zeros(()), reference.confidence),
        }
    )


def test_weight_penalty_applies_only_with_no_first_img() -> None:
    assert "W" not in compute_flow_losses(a_window(), CONFIG).generator


def test_warp_loss_uses_estimated_flow_without_flow_networks() -> None:
    assert list(compute_flow_losses(a_window(composed=False), CONFIG).generator) == ["G_Warp"]


def test_temporal_input_is_images_oldest_first_then_flow_over_20() -> None:
    G, tD = 2, 3
    groups = FrameGroups(
        ((0, 1, 2), (2, 3, 4)),
        draw(B, G, tD, 3, H, W, seed=1),
        leaf(B, G, tD, 3, H, W, seed=2),
        draw(B, G, tD - 1, 2, H, W, seed=3),
    )
    network, flow = discriminator(tD * 3 + (tD - 1) * 2), draw(B, G, tD - 1, 2, H, W, seed=4)

    def stack(images: Tensor) -> Tensor:
        rows = [torch.cat([*images[b, g], *(flow[b, g] / 20)]) for b in range(B) for g in range(G)]
        return torch.stack(rows)

    terms = compute_temporal_losses(network, groups, flow, CONFIG)
    g_loss, d_loss, named = separate_passes(
        network, stack(groups.real), [stack(groups.fake)], CONFIG
    )
    assert number(terms.generator["G_T_GAN"]) == pytest.approx(named["gan"])
    assert number(terms.generator["G_T_GAN_Feat"]) == pytest.approx(named["features"])
    assert terms.generator["G_T_Warp"] == 0
    g, d = gradients(terms, network, [groups.fake])
    torch.testing.assert_close(g, torch.autograd.grad(g_loss, [groups.fake]))
    torch.testing.assert_close(d, torch.autograd.grad(d_loss, list(network.parameters())))


def poses(
    *faces: tuple[int, int, int], openpose: bool = False, height: int = H, width: int = W
) -> Tensor:
    """(1, 3, 3 or 6, H, W) with face pixels at (frame, y, x)."""
    condition = torch.full((1, 3, 3 if openpose else 6, height, width), -1.0)
    for t, y, x in faces:
        condition[0, t, :3, y, x] = (
            torch.tensor([153, 0, 51]) / 255 * 2 - 1 if openpose else torch.tensor([0, 0, 0.96])
        )
    return condition


@pytest.mark.parametrize("openpose", [False, True])
@pytest.mark.parametrize(
    ("faces", "rows", "columns"),
    [
        ([(0, 10, 20)], (2, 18), (12, 28)),
        ([(0, 10, 18), (2, 13, 23)], (3, 19), (12, 28)),  # all frames together: centre (11, 20)
        ([(1, 0, 0)], (0, 16), (0, 16)),  # pushed back inside
        (
            [(1, 31, 39)],
            (H - 17, H - 1),
            (W - 17, W - 1),
        ),  # clamped to side - 1 - half, as published
    ],
)
def test_face_box_matches_hand_computed_values(
    faces: list, rows: tuple, columns: tuple, openpose: bool
) -> None:
    box = find_face_box(
        poses(*faces, openpose=openpose), replace(CONFIG, uses_openpose_face=openpose)
    )
    assert box == (slice(*rows), slice(*columns))


@pytest.mark.parametrize("openpose", [False, True])
def test_no_face_gives_no_face_box(openpose: bool) -> None:
    assert (
        find_face_box(poses(openpose=openpose), replace(CONFIG, uses_openpose_face=openpose))
        is None
    )


def test_other_colors_are_not_a_face() -> None:
    drawn = poses((0, 9, 9), openpose=True)
    drawn[0, 0, 0, 9, 9] += 0.02
    assert find_face_box(drawn, replace(CONFIG, uses_openpose_face=True)) is None


def test_face_losses_use_the_conditioned_face_crop_with_weight_two() -> None:
    window = replace(a_window(), condition=poses((0, 10, 20)).double().expand(B, -1, -1, -1, -1))
    network = discriminator(6 + 3, n_scales=1)
    terms = compute_face_losses(network, window, CONFIG)
    cut = [
        torch.cat([merged(window.condition), merged(x)], 1)[:, :, 2:18, 12:28]
        for x in (window.real, window.output.image)
    ]
    _, _, named = separate_passes(network, cut[0], [cut[1]], CONFIG)
    assert number(terms.generator["G_f_GAN"]) == pytest.approx(2 * named["gan"])
    assert number(terms.generator["G_f_GAN_Feat"]) == pytest.approx(2 * named["features"])
    assert number(terms.discriminator["D_f_real"]) == pytest.approx(named["real"])
    assert number(terms.discriminator["D_f_fake"]) == pytest.approx(named["fake"])


def test_face_losses_without_a_face_are_zero() -> None:
    window = replace(a_window(), condition=poses().double())
    terms = compute_face_losses(discriminator(9, n_scales=1), window, CONFIG)
    assert not any(
        number(value) for side in (terms.generator, terms.discriminator) for value in side.values()
    )
