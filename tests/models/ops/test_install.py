"""Networks with optimized ops against the plain networks that they are made of."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from models.networks.blocks import NormKind
from models.networks.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.networks.generators import GeneratorConfig, GeneratorOutput, build_generator
from models.networks.labels import SparseOneHot
from models.networks.rollout import History, RolloutConfig, generate_frame, rollout
from models.ops.dispatch import OpChoice, current_op_choice
from models.ops.install import install_optimized_ops
from models.ops.layers import (
    ChannelsLastBatchNorm2d,
    KernelRowConv2d,
    KernelTapConv2d,
    LabelConv2d,
    WinogradConv2d,
)

SIZE = (48, 64)


@pytest.fixture(autouse=True)
def _optimize_small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.ops.dispatch.MIN_FEATURE_MAP_SIZE", 0)


def build_networks(
    norm: NormKind = "batch", n_scales: int = 2, checkpoint_activations: bool = False
) -> nn.ModuleList:
    torch.manual_seed(0)
    config = GeneratorConfig(
        condition_channels=6,
        width=64,
        n_downsample=1,
        n_blocks=2,
        n_blocks_local=1,
        n_scales=n_scales,
        norm=norm,
        foreground=(2,),
        checkpoint_activations=checkpoint_activations,
    )
    return build_generator(config).double()


def make_condition(batch: int = 1, n_frames: int = 4) -> SparseOneHot:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(6, (batch, n_frames, 1, *SIZE), generator=generator).byte()
    return SparseOneHot(ids, 5, (ids == 3).double())


def generate(netG: nn.ModuleList, condition: Tensor | SparseOneHot) -> GeneratorOutput:
    images = torch.rand(
        1, 2, 3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    history = History.from_first_images(images, len(netG))
    return rollout(netG, condition, history, RolloutConfig(3, bptt_frames=2))[0]


def compute_gradients(netG: nn.ModuleList, output: GeneratorOutput) -> tuple[Tensor, ...]:
    assert output.flow is not None and output.blend_weight is not None
    loss = output.image.square().mean() + output.flow.mean() + output.blend_weight.mean()
    return torch.autograd.grad(loss, list(netG.parameters()), allow_unused=True)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("is_sparse", [True, False])
def test_optimized_generators_equal_plain_ones(is_sparse: bool, norm: NormKind) -> None:
    # pooled sparse conditions are float32, so that they have one scale in this test in float64
    plain = build_networks(norm, n_scales=1 if is_sparse else 2)
    optimized = install_optimized_ops(deepcopy(plain))
    condition = make_condition()
    dense = condition.to_dense().double()
    expected = generate(plain, dense)
    output = generate(optimized, condition if is_sparse else dense)
    torch.testing.assert_close(vars(output), vars(expected), rtol=1e-6, atol=1e-8)
    gradients, expected_gradients = (
        [gradient for gradient in compute_gradients(netG, result) if gradient is not None]
        for netG, result in ((optimized, output), (plain, expected))
    )
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(optimized.state_dict(), plain.state_dict(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("is_optimized", [True, False])
def test_checkpointing_changes_neither_gradients_nor_running_statistics(is_optimized: bool) -> None:
    networks = [
        build_networks(n_scales=1, checkpoint_activations=checks) for checks in (False, True)
    ]
    gradients = []
    for netG in networks:
        if is_optimized:
            install_optimized_ops(netG)
        condition = make_condition() if is_optimized else make_condition().to_dense().double()
        gradients.append(compute_gradients(netG, generate(netG, condition)))
    assert all(map(torch.equal, *gradients))
    states = [netG.state_dict() for netG in networks]
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)


@pytest.mark.parametrize("spectral_norm", [True, False])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_optimized_discriminators_equal_plain_ones(norm: NormKind, spectral_norm: bool) -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(norm=norm, spectral_norm=spectral_norm)
    plain = MultiScaleDiscriminator(6, config).double().eval()
    optimized = install_optimized_ops(deepcopy(plain))
    x = torch.randn(2, 6, *SIZE, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(optimized(x), plain(x), rtol=1e-6, atol=1e-8)
    assert list(optimized.state_dict()) == list(plain.state_dict())


def test_layers_are_replaced_once_and_keep_their_parameters() -> None:
    netG = build_networks()
    parameters = dict(netG.named_parameters())
    kinds = (WinogradConv2d, ChannelsLastBatchNorm2d, KernelRowConv2d, LabelConv2d)
    assert not any(isinstance(module, kinds) for module in netG.modules())
    install_optimized_ops(netG)
    classes = [type(module) for module in netG.modules()]
    assert set(kinds) <= set(classes)
    assert type(netG[0].model_final_img[1]) is KernelRowConv2d
    install_optimized_ops(netG)
    assert [type(module) for module in netG.modules()] == classes
    assert all(parameter is parameters[name] for name, parameter in netG.named_parameters())
    copied = deepcopy(netG)
    assert [type(module) for module in copied.modules()] == classes


def test_score_of_a_discriminator_with_instance_norm_is_not_replaced() -> None:
    def count_replaced_scores(norm: NormKind) -> int:
        network = MultiScaleDiscriminator(6, DiscriminatorConfig(norm=norm))
        modules = install_optimized_ops(network).modules()
        return sum(isinstance(module, KernelTapConv2d) for module in modules)

    assert count_replaced_scores("batch") == 2 and count_replaced_scores("instance") == 0


def test_choice_of_ops_ends_with_the_forward_pass() -> None:
    netG = install_optimized_ops(build_networks(n_scales=1))
    choices = []
    netG[0].model_res_img.register_forward_hook(lambda *_: choices.append(current_op_choice()))
    generate(netG, make_condition())
    assert len(choices) == 2 and all(choice.channels_last for choice in choices)
    assert current_op_choice() == OpChoice()


def test_plain_generators_get_sparse_conditions_as_dense_tensors() -> None:
    netG = build_networks(n_scales=1).float()
    condition, history = make_condition(n_frames=3), torch.zeros(1, 2, 3, *SIZE)
    output, dense_output = (
        generate_frame(netG, [x], History.from_first_images(history, 1))[0].image
        for x in (condition, condition.to_dense())
    )
    assert torch.equal(output, dense_output)
