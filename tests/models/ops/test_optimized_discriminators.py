"""Discriminators as wide as those of real runs, with optimized ops on a CPU, against reference implementations."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.ops.dispatch import reference_ops
from models.ops.install import install_optimized_ops
from models.ops.winograd import winograd_conv2d
from scripts.benchmarks.reference_implementation import (
    ReferenceDiscriminator,
    get_contiguous_state_dict,
)

CONFIG = DiscriminatorConfig(width=64, n_layers=2, n_scales=2)


def wide_discriminator(config: DiscriminatorConfig = CONFIG) -> MultiScaleDiscriminator:
    torch.manual_seed(0)
    return install_optimized_ops(MultiScaleDiscriminator(6, config))


def reduce_to_scalar(outputs: list[list[Tensor]]) -> Tensor:
    return torch.stack([features.square().mean() for scale in outputs for features in scale]).sum()


def test_scores_and_gradients_match_the_reference_implementation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = wide_discriminator().double()
    x = torch.randn(2, 6, 96, 128, dtype=torch.float64, requires_grad=True)
    kernel_sizes = []

    def counting_winograd_conv2d(
        x: Tensor, weight: Tensor, *rest: object, **kwargs: object
    ) -> Tensor:
        kernel_sizes.append(weight.shape[-1])
        return winograd_conv2d(x, weight, *rest, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("models.ops.layers.winograd_conv2d", counting_winograd_conv2d)
    outputs = network(x)
    expected = ReferenceDiscriminator(get_contiguous_state_dict(network), CONFIG)(x)
    assert kernel_sizes == [4] * 2  # one layer of each scale
    for features, expected_features in zip(sum(outputs, []), sum(expected, []), strict=True):
        torch.testing.assert_close(features, expected_features)
    inputs = [x, *network.parameters()]
    for gradient, expected_gradient in zip(
        torch.autograd.grad(reduce_to_scalar(outputs), inputs),
        torch.autograd.grad(reduce_to_scalar(expected), inputs),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected_gradient)


def test_second_order_gradients_are_available_on_request() -> None:
    network = wide_discriminator().double()
    x = torch.randn(1, 6, 64, 64, dtype=torch.float64, requires_grad=True)
    with reference_ops():
        outputs = network(x)
    (gradient,) = torch.autograd.grad(reduce_to_scalar(outputs), x, create_graph=True)
    gradient.square().sum().backward()
    assert all(
        weight.grad is not None
        for name, weight in network.named_parameters()
        if name.endswith("0.weight")
    )


def test_forward_pass_runs_one_power_iteration() -> None:
    """Reading a weight with spectral normalization is an iteration, whichever operation then uses it."""
    network = wide_discriminator(replace(CONFIG, n_scales=1, spectral_norm=True))
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    vectors = [conv.parametrizations.weight[0]._u for conv in convs]
    before = [vector.clone() for vector in vectors]
    expected = [
        F.normalize(
            conv.parametrizations.weight.original.flatten(1)
            @ F.normalize(conv.parametrizations.weight.original.flatten(1).T @ u, dim=0, eps=1e-12),
            dim=0,
            eps=1e-12,
        )
        for conv, u in zip(convs, before, strict=True)
    ]
    network(torch.randn(1, 6, 96, 128))
    assert convs and not any(
        torch.equal(old, new) for old, new in zip(before, vectors, strict=True) if len(old) > 1
    )
    assert all(
        torch.allclose(new, once, atol=1e-5) for new, once in zip(vectors, expected, strict=True)
    )
