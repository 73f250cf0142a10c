"""The losses of a window in float64, against their formulas and separate discriminator passes."""

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
    flatten_time,
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


def to_float(x: Tensor) -> float:
    return x.detach().item()


def random_tensor(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_leaf(*shape: int, seed: int) -> Tensor:
    return random_tensor(*shape, seed=seed).requires_grad_()


def make_discriminator(
    channels: int, n_scales: int = 2, returns_features: bool = True
) -> MultiScaleDiscriminator:
    torch.manual_seed(0)
    return MultiScaleDiscriminator(
        channels,
        DiscriminatorConfig(
            width=4, n_layers=2, n_scales=n_scales, returns_features=returns_features
        ),
    ).double()


def make_window(has_flow: bool = True) -> GeneratedWindow:
    image = random_leaf(B, T, 3, H, W, seed=1)
    raw = random_leaf(B, T, 3, H, W, seed=2) if has_flow else image
    flow = random_leaf(B, T, 2, H, W, seed=3) if has_flow else None
    weight = random_leaf(B, T, 1, H, W, seed=4) if has_flow else None
    confidence = (random_tensor(B, T, 1, H, W, seed=5) > 0).double()
    return GeneratedWindow(
        condition=random_tensor(B, T, C, H, W, seed=6),
        real=random_tensor(B, T, 3, H, W, seed=7),
        real_prev=random_tensor(B, T, 3, H, W, seed=8),
        output=GeneratorOutput(image, raw, flow, weight),
        fake_prev=random_tensor(B, T, 3, H, W, seed=9),
        reference_flow=FlowEstimate(2 * random_tensor(B, T, 2, H, W, seed=10), confidence),
    )


def image_losses(
    network: MultiScaleDiscriminator, window: GeneratedWindow, config: LossConfig
) -> Losses:
    """Return the image losses of a window's frames."""
    fakes = select_scored_images(window.output, config)
    return compute_image_losses(network, window.condition, window.real, fakes, config)


def least_squares(scores: list[list[Tensor]], target: float) -> Tensor:
    return sum(((scale[-1] - target) ** 2).mean() for scale in scores)


def feature_matching(
    fake: list[list[Tensor]], real: list[list[Tensor]], config: LossConfig
) -> Tensor:
    distance = sum(
        F.l1_loss(f, r.detach())
        for a, b in zip(fake, real, strict=True)
        for f, r in zip(a[:-1], b[:-1], strict=True)
    )
    return distance * config.lambda_feat * 4 / (config.n_layers + 1) / config.num_D


def separate_passes(
    network: nn.Module, real: Tensor, fakes: list[Tensor], config: LossConfig
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Compute the losses with separate passes for real, detached fake and fake inputs.

    Returns:
        The generator's loss, the discriminator's loss, and the parts of both.
    """
    gan = features = d_real = d_fake = torch.zeros((), dtype=torch.float64)
    for fake in fakes:
        d_real = d_real + least_squares(network(real), 1)
        d_fake = d_fake + least_squares(network(fake.detach()), 0)
        scores = network(fake)
        gan = gan + least_squares(scores, 1)
        features = features + feature_matching(scores, network(real), config)
    parts = {
        "gan": to_float(gan),
        "features": to_float(features),
        "real": to_float(d_real),
        "fake": to_float(d_fake),
    }
    return gan + features, (d_real + d_fake) / 2, parts


def gradients(
    losses: Losses, network: nn.Module, inputs: list[Tensor]
) -> tuple[tuple[Tensor, ...], ...]:
    """Return the gradients of the generator's inputs and of the discriminator's parameters."""
    g = torch.autograd.grad(sum_losses(losses.generator.values()), inputs, retain_graph=True)
    d = torch.autograd.grad(
        sum_losses(losses.discriminator.values()) / 2, list(network.parameters())
    )
    return g, d


@pytest.mark.parametrize("has_flow", [True, False])
def test_one_discriminator_pass_equals_separate_passes(has_flow: bool) -> None:
    """Without flow, the raw image is the image, and it still counts twice, as published."""
    window, network = make_window(has_flow), make_discriminator(C + 3)
    losses = image_losses(network, window, replace(CONFIG, has_flow=has_flow))
    fakes = [window.output.image, window.output.raw_image]
    inputs = fakes if has_flow else fakes[:1]
    condition = flatten_time(window.condition)
    g_loss, d_loss, parts = separate_passes(
        network,
        torch.cat([condition, flatten_time(window.real)], 1),
        [torch.cat([condition, flatten_time(fake)], 1) for fake in fakes],
        CONFIG,
    )
    values = {**losses.generator, **losses.discriminator}
    assert {name: to_float(value) for name, value in values.items()} == pytest.approx(
        {
            "G_GAN": parts["gan"],
            "G_GAN_Feat": parts["features"],
            "D_real": parts["real"],
            "D_fake": parts["fake"],
        }
    )
    g, d = gradients(losses, network, inputs)
    torch.testing.assert_close(g, torch.autograd.grad(g_loss, inputs))
    torch.testing.assert_close(d, torch.autograd.grad(d_loss, list(network.parameters())))


def test_no_feature_matching_loss_without_features() -> None:
    losses = image_losses(make_discriminator(C + 3, returns_features=False), make_window(), CONFIG)
    assert losses.generator["G_GAN_Feat"] == 0 and losses.generator["G_GAN"] > 0


@pytest.mark.parametrize(("has_flow", "counts"), [(True, (1, 1)), (False, (2, 0))])
def test_perceptual_loss_covers_image_and_raw_image(
    has_flow: bool, counts: tuple[int, int]
) -> None:
    window = make_window(has_flow)

    def distance(fakes: Tensor, real: Tensor) -> Tensor:
        return (fakes.unflatten(0, (-1, len(real))) - real).abs().mean()

    config = replace(CONFIG, has_flow=has_flow)
    fakes = select_scored_images(window.output, config)
    losses = compute_perceptual_losses(distance, window.real, fakes, config)
    distances = [
        to_float((x - window.real).abs().mean())
        for x in (window.output.image, window.output.raw_image)
    ]
    expected = 7.0 * (counts[0] * distances[0] + counts[1] * distances[1])
    assert to_float(losses.generator["G_VGG"]) == pytest.approx(expected)


def l1(x: Tensor, y: Tensor, confidence: Tensor) -> float:
    return to_float(((x - y) * flatten_time(confidence)).abs().mean())


def test_flow_losses_match_their_formulas() -> None:
    window, config = make_window(), replace(CONFIG, n_scales=3, uses_weight_penalty=True)
    frames, reference = window.output, window.reference_flow
    losses = {
        name: to_float(value)
        for name, value in compute_flow_losses(window, config).generator.items()
    }
    warped_fake = warp(flatten_time(window.fake_prev), flatten_time(reference.flow))
    warped_real = warp(flatten_time(window.real_prev), flatten_time(frames.flow))
    assert losses == pytest.approx(
        {
            "G_Warp": 3 * l1(flatten_time(frames.image), warped_fake, reference.confidence),
            "F_Flow": 5
            / 4
            * l1(flatten_time(frames.flow), flatten_time(reference.flow), reference.confidence),
            "F_Warp": 3 * l1(warped_real, flatten_time(window.real), reference.confidence),
            "W": l1(flatten_time(frames.blend_weight), torch.zeros(()), reference.confidence),
        }
    )


def test_weight_penalty_applies_only_with_no_first_img() -> None:
    assert "W" not in compute_flow_losses(make_window(), CONFIG).generator


def test_warp_loss_uses_estimated_flow_without_flow_networks() -> None:
    assert list(compute_flow_losses(make_window(has_flow=False), CONFIG).generator) == ["G_Warp"]


def test_temporal_input_is_images_oldest_first_then_flow_over_20() -> None:
    G, tD = 2, 3
    groups = FrameGroups(
        ((0, 1, 2), (2, 3, 4)),
        random_tensor(B, G, tD, 3, H, W, seed=1),
        random_leaf(B, G, tD, 3, H, W, seed=2),
        random_tensor(B, G, tD - 1, 2, H, W, seed=3),
    )
    network, flow = (
        make_discriminator(tD * 3 + (tD - 1) * 2),
        random_tensor(B, G, tD - 1, 2, H, W, seed=4),
    )

    def stack(images: Tensor) -> Tensor:
        rows = [torch.cat([*images[b, g], *(flow[b, g] / 20)]) for b in range(B) for g in range(G)]
        return torch.stack(rows)

    losses = compute_temporal_losses(network, groups, flow, CONFIG)
    g_loss, d_loss, parts = separate_passes(
        network, stack(groups.real), [stack(groups.fake)], CONFIG
    )
    assert to_float(losses.generator["G_T_GAN"]) == pytest.approx(parts["gan"])
    assert to_float(losses.generator["G_T_GAN_Feat"]) == pytest.approx(parts["features"])
    assert losses.generator["G_T_Warp"] == 0
    g, d = gradients(losses, network, [groups.fake])
    torch.testing.assert_close(g, torch.autograd.grad(g_loss, [groups.fake]))
    torch.testing.assert_close(d, torch.autograd.grad(d_loss, list(network.parameters())))


def make_poses(
    *faces: tuple[int, int, int], openpose: bool = False, height: int = H, width: int = W
) -> Tensor:
    """Return poses (1, 3, 3 or 6, H, W) with face pixels at (frame, y, x)."""
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
        ([(0, 10, 18), (2, 13, 23)], (3, 19), (12, 28)),  # of all frames: center (11, 20)
        ([(1, 0, 0)], (0, 16), (0, 16)),  # shifted inside the image
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
        make_poses(*faces, openpose=openpose), replace(CONFIG, uses_openpose_face=openpose)
    )
    assert box == (slice(*rows), slice(*columns))


@pytest.mark.parametrize("openpose", [False, True])
def test_no_face_gives_no_face_box(openpose: bool) -> None:
    assert (
        find_face_box(make_poses(openpose=openpose), replace(CONFIG, uses_openpose_face=openpose))
        is None
    )


def test_other_colors_are_not_a_face() -> None:
    condition = make_poses((0, 9, 9), openpose=True)
    condition[0, 0, 0, 9, 9] += 0.02
    assert find_face_box(condition, replace(CONFIG, uses_openpose_face=True)) is None


def test_face_losses_use_the_conditioned_face_crop_with_weight_two() -> None:
    window = replace(
        make_window(), condition=make_poses((0, 10, 20)).double().expand(B, -1, -1, -1, -1)
    )
    network = make_discriminator(6 + 3, n_scales=1)
    losses = compute_face_losses(network, window, CONFIG)
    real, fake = (
        torch.cat([flatten_time(window.condition), flatten_time(x)], 1)[:, :, 2:18, 12:28]
        for x in (window.real, window.output.image)
    )
    _, _, parts = separate_passes(network, real, [fake], CONFIG)
    assert to_float(losses.generator["G_f_GAN"]) == pytest.approx(2 * parts["gan"])
    assert to_float(losses.generator["G_f_GAN_Feat"]) == pytest.approx(2 * parts["features"])
    assert to_float(losses.discriminator["D_f_real"]) == pytest.approx(parts["real"])
    assert to_float(losses.discriminator["D_f_fake"]) == pytest.approx(parts["fake"])


def test_face_losses_without_a_face_are_zero() -> None:
    window = replace(make_window(), condition=make_poses().double())
    losses = compute_face_losses(make_discriminator(9, n_scales=1), window, CONFIG)
    assert not any(
        to_float(value)
        for side in (losses.generator, losses.discriminator)
        for value in side.values()
    )
