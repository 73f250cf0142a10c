"""Optimized operations and layers against those of PyTorch, in float64, with their gradients."""

import pytest
import torch
import torch.nn.functional as F

from models.networks.blocks import BatchStatNorm2d, use_per_sample_stats
from models.ops.batch_norm import batch_norm_channels_last, compute_channel_stats
from models.ops.conv_few_outputs import conv2d_by_kernel_rows, conv2d_by_kernel_taps
from models.ops.dispatch import OpChoice, should_use_winograd, use_ops
from models.ops.label_conv import label_conv2d
from models.ops.layers import ChannelsLastBatchNorm2d, KernelRowConv2d, WinogradConv2d
from models.ops.winograd import winograd_conv2d

CLOSE = {"rtol": 0, "atol": 1e-11}
CHANNELS_LAST = OpChoice(channels_last=True)


def random_tensor(
    *size: int, channels_last: bool = False, requires_grad: bool = True
) -> torch.Tensor:
    torch.manual_seed(sum(size))
    x = torch.randn(*size, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return x.requires_grad_(requires_grad)


def assert_same_values_and_gradients(
    optimized: torch.Tensor, expected: torch.Tensor, inputs: tuple[torch.Tensor, ...]
) -> None:
    torch.testing.assert_close(optimized, expected, **CLOSE)
    grad_output = torch.randn_like(expected)
    gradients = torch.autograd.grad(optimized, inputs, grad_output)
    expected_gradients = torch.autograd.grad(expected, inputs, grad_output)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, **CLOSE)


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("size", [(2, 3, 10, 14), (1, 4, 9, 7), (2, 2, 34, 70)])
@pytest.mark.parametrize("channels_last", [True, False])
def test_winograd_equals_conv2d(size, padding, channels_last) -> None:
    x = random_tensor(*size, channels_last=channels_last)
    weight, bias = random_tensor(5, size[1], 3, 3), random_tensor(5)
    assert_same_values_and_gradients(
        winograd_conv2d(x, weight, bias, padding),
        F.conv2d(x, weight, bias, padding=padding),
        (x, weight, bias),
    )


@pytest.mark.parametrize("function", ["grad", "backward"])
def test_weight_gradients_are_not_computed_when_not_required(function, monkeypatch) -> None:
    """Those of discriminators, through which the generator's gradient passes."""
    x, weight = random_tensor(1, 3, 8, 8), random_tensor(5, 3, 3, 3)
    y = winograd_conv2d(x.sin(), weight, None)
    grad_output = torch.ones(1, 5, 6, 6, dtype=torch.float64)
    (expected,) = torch.autograd.grad(F.conv2d(x.sin(), weight), x, grad_output)
    monkeypatch.setattr("models.ops.winograd._compute_weight_grad", None)
    if function == "grad":
        (gradient,) = torch.autograd.grad(y, x, grad_output)
    else:
        torch.autograd.backward(y, grad_output, inputs=[x])
        gradient = x.grad
    torch.testing.assert_close(gradient, expected, **CLOSE)


def test_winograd_passes_gradcheck() -> None:
    inputs = (random_tensor(1, 2, 7, 6), random_tensor(2, 2, 3, 3), random_tensor(2))
    assert torch.autograd.gradcheck(winograd_conv2d, inputs)


def test_winograd_is_used_only_for_suitable_shapes() -> None:
    conv, x = WinogradConv2d(128, 128, 3), torch.randn(1, 128, 18, 18)
    assert should_use_winograd(x, conv.weight)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias), rtol=0, atol=1e-5)
    assert not should_use_winograd(x[:, :64], conv.weight[:64, :64])
    assert not should_use_winograd(x[:, :, :6, :6], conv.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not should_use_winograd(x, conv.weight)


def test_winograd_in_float32_loses_at_most_one_digit() -> None:
    x = random_tensor(1, 64, 34, 34, requires_grad=False)
    weight = random_tensor(64, 64, 3, 3, requires_grad=False) / 24
    exact = F.conv2d(x, weight)
    direct = F.conv2d(x.float(), weight.float())
    winograd = winograd_conv2d(x.float(), weight.float(), None)
    assert (winograd - exact).norm() < 10 * (direct - exact).norm()


@pytest.mark.parametrize(
    ("batch", "frames", "height", "width", "n_codes"), [(2, 3, 9, 13, 5), (1, 1, 40, 21, 2)]
)
def test_label_conv_equals_convolution_of_one_hot_maps(
    batch, frames, height, width, n_codes
) -> None:
    codes = torch.randint(n_codes, (batch, frames, height, width))
    table = random_tensor(frames, 49, n_codes, 4)
    maps = F.one_hot(codes, n_codes).permute(0, 1, 4, 2, 3).flatten(1, 2).double()
    weight = table.permute(3, 0, 2, 1).reshape(4, -1, 7, 7)
    assert_same_values_and_gradients(
        label_conv2d(codes, table),
        F.conv2d(F.pad(maps, (3,) * 4, mode="reflect"), weight),
        (table,),
    )


@pytest.mark.parametrize("outputs", [1, 3])
def test_few_output_convolution_equals_conv2d(outputs) -> None:
    x = random_tensor(2, 5, 12, 15)
    weight, bias = random_tensor(outputs, 5, 7, 7), random_tensor(outputs)
    assert_same_values_and_gradients(
        conv2d_by_kernel_rows(x, weight, bias), F.conv2d(x, weight, bias), (x, weight, bias)
    )
    conv = KernelRowConv2d(5, outputs, 7).double()
    expected = F.conv2d(x, conv.weight, conv.bias)
    torch.testing.assert_close(conv(x), expected, **CLOSE)
    with use_ops(CHANNELS_LAST):
        y = conv(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(y, expected, **CLOSE)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("outputs", [1, 2])
def test_single_output_convolution_by_taps_equals_conv2d(outputs, padding) -> None:
    x = random_tensor(2, 5, 6, 9, channels_last=True)
    weight, bias = random_tensor(outputs, 5, 4, 4), random_tensor(outputs)
    assert_same_values_and_gradients(
        conv2d_by_kernel_taps(x, weight, bias, padding),
        F.conv2d(x, weight, bias, padding=padding),
        (x, weight, bias),
    )


def test_channels_last_norm_equals_batch_norm() -> None:
    x, weight, bias = (
        random_tensor(3, 4, 5, 6, channels_last=True),
        random_tensor(4),
        random_tensor(4),
    )
    mean, variance = compute_channel_stats(x.detach())
    assert_same_values_and_gradients(
        batch_norm_channels_last(x, mean, variance, weight, bias, 1e-5),
        F.batch_norm(x, None, None, weight, bias, True, 0.0, 1e-5),
        (x, weight, bias),
    )


def test_statistics_over_many_pixels_are_exact() -> None:
    x = (torch.randn(1, 2, 500, 1000) + 3).contiguous(memory_format=torch.channels_last)
    mean, variance = compute_channel_stats(x)
    torch.testing.assert_close(mean, x.double().mean((0, 2, 3)).float(), rtol=3e-7, atol=0)
    torch.testing.assert_close(
        variance, x.double().var((0, 2, 3), correction=0).float(), rtol=1e-6, atol=0
    )


def random_norm(channels: int, channels_last: bool) -> BatchStatNorm2d:
    norm = (ChannelsLastBatchNorm2d if channels_last else BatchStatNorm2d)(channels)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm


def run_norm(norm: BatchStatNorm2d, x: torch.Tensor) -> torch.Tensor:
    """norm(x), where x is channels_last if the norm is made for it."""
    if not isinstance(norm, ChannelsLastBatchNorm2d):
        return norm(x)
    with use_ops(CHANNELS_LAST):
        return norm(x.contiguous(memory_format=torch.channels_last))


def test_running_statistics_do_not_depend_on_the_memory_format() -> None:
    norm, optimized = BatchStatNorm2d(3), ChannelsLastBatchNorm2d(3)
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(run_norm(optimized, x), norm(x))
    torch.testing.assert_close(optimized.state_dict(), norm.state_dict())


@pytest.mark.parametrize("channels_last", [True, False])
def test_per_sample_norm_does_not_depend_on_the_batch(channels_last) -> None:
    norm = random_norm(3, channels_last).double()
    x = random_tensor(3, 3, 4, 5, requires_grad=False)
    expected = torch.cat([run_norm(norm, sample) for sample in x.split(1)])
    assert not torch.allclose(run_norm(norm, x), expected)
    use_per_sample_stats(norm)
    torch.testing.assert_close(run_norm(norm, x), expected, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize(("channels_last", "tolerance"), [(False, 0), (True, 1e-6)])
def test_per_sample_norm_equals_a_loop_over_samples(channels_last, tolerance) -> None:
    """Bit for bit if contiguous; up to rounding if channels_last, where both are as near to the exact value."""
    norm = random_norm(16, channels_last)
    x = random_tensor(4, 16, 32, 48, requires_grad=False).float()
    use_per_sample_stats(norm)
    expected = torch.cat([run_norm(norm, sample) for sample in x.split(1)])
    y = run_norm(norm, x)
    torch.testing.assert_close(y, expected, rtol=0, atol=tolerance)
    assert y.is_contiguous(memory_format=torch.channels_last) == channels_last
    with torch.autocast("cpu", torch.bfloat16):
        half = run_norm(norm, x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_per_sample_stats_do_not_update_running_statistics(channels_last, batch) -> None:
    norm = random_norm(3, channels_last).double().train()
    x = random_tensor(batch, 3, 4, 5, requires_grad=False) + 7
    run_norm(norm, x)
    assert norm.running_mean.all()
    before = norm.running_mean.clone()
    use_per_sample_stats(norm)
    run_norm(norm, x)
    assert torch.equal(norm.running_mean, before)
