"""The fast ways against the plain ones, in float64, and their gradients."""

import pytest
import torch
import torch.nn.functional as F

from models.networks.blocks import BatchStatNorm2d, Conv3x3, HeadConv2d, per_sample_batch_stats
from models.ops.batch_norm import batch_norm_channels_last, compute_channel_stats
from models.ops.conv_few_outputs import conv2d_by_kernel_rows, conv2d_by_kernel_taps
from models.ops.dispatch import should_use_winograd
from models.ops.label_conv import label_conv2d
from models.ops.winograd import winograd_conv2d

CLOSE = {"rtol": 0, "atol": 1e-11}


def drawn(*size: int, last: bool = False, learns: bool = True) -> torch.Tensor:
    torch.manual_seed(sum(size))
    x = torch.randn(*size, dtype=torch.float64)
    return (x.contiguous(memory_format=torch.channels_last) if last else x).requires_grad_(learns)


def agree(plain: torch.Tensor, fast: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> None:
    """In values and gradients."""
    torch.testing.assert_close(fast, plain, **CLOSE)
    towards = torch.randn_like(plain)
    for one, other in zip(
        torch.autograd.grad(fast, inputs, towards),
        torch.autograd.grad(plain, inputs, towards),
        strict=True,
    ):
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("size", [(2, 3, 10, 14), (1, 4, 9, 7), (2, 2, 34, 70)])
@pytest.mark.parametrize("last", [True, False])
def test_winograd_equals_conv2d(size, padding, last) -> None:
    x, weight, bias = drawn(*size, last=last), drawn(5, size[1], 3, 3), drawn(5)
    agree(
        F.conv2d(x, weight, bias, padding=padding),
        winograd_conv2d(x, weight, bias, padding),
        (x, weight, bias),
    )


@pytest.mark.parametrize("ask", ["grad", "backward"])
def test_weight_gradients_are_not_computed_when_not_required(ask, monkeypatch) -> None:
    """The generator's, through the discriminators."""
    x, weight = drawn(1, 3, 8, 8), drawn(5, 3, 3, 3)
    out, towards = (
        winograd_conv2d(x.sin(), weight, None),
        torch.ones(1, 5, 6, 6, dtype=torch.float64),
    )
    (expected,) = torch.autograd.grad(F.conv2d(x.sin(), weight), x, towards)
    monkeypatch.setattr("models.ops.winograd._compute_weight_grad", None)
    if ask == "grad":
        (found,) = torch.autograd.grad(out, x, towards)
    else:
        torch.autograd.backward(out, towards, inputs=[x])
        found = x.grad
    torch.testing.assert_close(found, expected, **CLOSE)


def test_winograd_passes_gradcheck() -> None:
    assert torch.autograd.gradcheck(
        winograd_conv2d, (drawn(1, 2, 7, 6), drawn(2, 2, 3, 3), drawn(2))
    )


def test_winograd_is_used_only_for_suitable_shapes() -> None:
    convolution, x = Conv3x3(128, 128), torch.randn(1, 128, 18, 18)
    assert should_use_winograd(x, convolution.weight)
    torch.testing.assert_close(
        convolution(x), F.conv2d(x, convolution.weight, convolution.bias), rtol=0, atol=1e-5
    )
    assert not should_use_winograd(x[:, :64], convolution.weight[:64, :64])
    assert not should_use_winograd(x[:, :, :6, :6], convolution.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not should_use_winograd(x, convolution.weight)


def test_winograd_in_float32_loses_at_most_one_digit() -> None:
    x, weight = drawn(1, 64, 34, 34, learns=False), drawn(64, 64, 3, 3, learns=False) / 24
    exact = F.conv2d(x, weight)
    direct, fast = (way(x.float(), weight.float(), None) for way in (F.conv2d, winograd_conv2d))
    assert (fast - exact).norm() < 10 * (direct - exact).norm()


@pytest.mark.parametrize(
    ("batch", "frames", "height", "width", "letters"), [(2, 3, 9, 13, 5), (1, 1, 40, 21, 2)]
)
def test_label_conv_equals_convolution_of_one_hot_maps(
    batch, frames, height, width, letters
) -> None:
    ids, table = (
        torch.randint(letters, (batch, frames, height, width)),
        drawn(frames, 49, letters, 4),
    )
    maps = F.one_hot(ids, letters).permute(0, 1, 4, 2, 3).flatten(1, 2).double()
    weight = table.permute(3, 0, 2, 1).reshape(4, -1, 7, 7)
    agree(
        F.conv2d(F.pad(maps, (3,) * 4, mode="reflect"), weight), label_conv2d(ids, table), (table,)
    )


@pytest.mark.parametrize("outputs", [1, 3])
def test_few_output_convolution_equals_conv2d(outputs) -> None:
    x, weight, bias = drawn(2, 5, 12, 15), drawn(outputs, 5, 7, 7), drawn(outputs)
    agree(F.conv2d(x, weight, bias), conv2d_by_kernel_rows(x, weight, bias), (x, weight, bias))
    head = HeadConv2d(5, outputs, 7).double()
    for laid_out in (x, x.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(head(laid_out), F.conv2d(x, head.weight, head.bias), **CLOSE)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("outputs", [1, 2])
def test_single_output_convolution_by_taps_equals_conv2d(outputs, padding) -> None:
    x, weight, bias = drawn(2, 5, 6, 9, last=True), drawn(outputs, 5, 4, 4), drawn(outputs)
    agree(
        F.conv2d(x, weight, bias, padding=padding),
        conv2d_by_kernel_taps(x, weight, bias, padding),
        (x, weight, bias),
    )


def test_channels_last_norm_equals_batch_norm() -> None:
    x, weight, bias = drawn(3, 4, 5, 6, last=True), drawn(4), drawn(4)
    mean, variance = compute_channel_stats(x.detach())
    agree(
        F.batch_norm(x, None, None, weight, bias, True, 0.0, 1e-5),
        batch_norm_channels_last(x, mean, variance, weight, bias, 1e-5),
        (x, weight, bias),
    )


def test_statistics_over_many_pixels_are_exact() -> None:
    x = (torch.randn(1, 2, 500, 1000) + 3).contiguous(memory_format=torch.channels_last)
    mean, variance = compute_channel_stats(x)
    torch.testing.assert_close(mean, x.double().mean((0, 2, 3)).float(), rtol=3e-7, atol=0)
    torch.testing.assert_close(
        variance, x.double().var((0, 2, 3), correction=0).float(), rtol=1e-6, atol=0
    )


def test_running_statistics_do_not_depend_on_the_memory_format() -> None:
    one, other = BatchStatNorm2d(3), BatchStatNorm2d(3)
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(one(x), other(x.contiguous(memory_format=torch.channels_last)))
    torch.testing.assert_close(one.state_dict(), other.state_dict())


def drawn_norm(channels: int) -> BatchStatNorm2d:
    norm = BatchStatNorm2d(channels)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("last", [True, False])
def test_per_sample_norm_does_not_depend_on_the_batch(last) -> None:
    norm, x = drawn_norm(3).double(), drawn(3, 3, 4, 5, last=last, learns=False)
    with per_sample_batch_stats(norm):
        together = norm(x)
    torch.testing.assert_close(
        together, torch.cat([norm(sample) for sample in x.split(1)]), **CLOSE
    )
    assert not torch.allclose(together, norm(x))


@torch.no_grad()
@pytest.mark.parametrize(("last", "off"), [(False, 0), (True, 1e-6)])
def test_per_sample_norm_equals_a_loop_over_samples(last, off) -> None:
    """Plainly to the last bit; channels last to rounding, where both are as near to the exact value."""
    norm, x = drawn_norm(16), drawn(4, 16, 32, 48, last=last, learns=False).float()
    loop = torch.cat([norm(sample) for sample in x.split(1)])
    with per_sample_batch_stats(norm):
        together = norm(x)
    torch.testing.assert_close(together, loop, rtol=0, atol=off)
    assert together.is_contiguous(memory_format=torch.channels_last) == last
    with torch.autocast("cpu", torch.bfloat16), per_sample_batch_stats(norm):
        half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), loop, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_per_sample_stats_do_not_update_running_statistics(last, batch) -> None:
    norm, x = (
        BatchStatNorm2d(3).double().train(),
        drawn(batch, 3, 4, 5, last=last, learns=False) + 7,
    )
    with per_sample_batch_stats(norm):
        norm(x)
    assert not norm.running_mean.any()
    norm(x)
    assert norm.running_mean.all()
