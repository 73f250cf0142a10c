"""The fast ways against the plain ones, in float64, and their gradients."""

import pytest
import torch
import torch.nn.functional as F

from models.blocks import BatchNorm, Conv3x3, HeadConv2d, apart
from models.fast.choice import winograd_pays
from models.fast.heads import split_convolution
from models.fast.label_sum import label_sum
from models.fast.norms import normalised, statistics
from models.fast.winograd import winograd

CLOSE = {"rtol": 0, "atol": 1e-11}


def drawn(*size: int, last: bool = False, learns: bool = True) -> torch.Tensor:
    torch.manual_seed(sum(size))
    x = torch.randn(*size, dtype=torch.float64)
    return (x.contiguous(memory_format=torch.channels_last) if last else x).requires_grad_(learns)


def agree(plain: torch.Tensor, fast: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> None:
    """In values and gradients."""
    torch.testing.assert_close(fast, plain, **CLOSE)
    towards = torch.randn_like(plain)
    for one, other in zip(torch.autograd.grad(fast, inputs, towards), torch.autograd.grad(plain, inputs, towards),
                          strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("size", [(2, 3, 10, 14), (1, 4, 9, 7), (2, 2, 34, 70)])
@pytest.mark.parametrize("last", [True, False])
def test_winograd_is_the_convolution(size, padding, last) -> None:
    x, weight, bias = drawn(*size, last=last), drawn(5, size[1], 3, 3), drawn(5)
    agree(F.conv2d(x, weight, bias, padding=padding), winograd(x, weight, bias, padding), (x, weight, bias))


def test_winograd_passes_gradcheck() -> None:
    assert torch.autograd.gradcheck(winograd, (drawn(1, 2, 7, 6), drawn(2, 2, 3, 3), drawn(2)))


def test_winograd_is_chosen_where_it_pays() -> None:
    convolution, x = Conv3x3(128, 128), torch.randn(1, 128, 18, 18)
    assert winograd_pays(x, convolution.weight)
    torch.testing.assert_close(convolution(x), F.conv2d(x, convolution.weight, convolution.bias), rtol=0, atol=1e-5)
    assert not winograd_pays(x[:, :64], convolution.weight[:64, :64])
    assert not winograd_pays(x[:, :, :6, :6], convolution.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd_pays(x, convolution.weight)


def test_winograd_in_float32_loses_one_digit_at_most() -> None:
    x, weight = drawn(1, 64, 34, 34, learns=False), drawn(64, 64, 3, 3, learns=False) / 24
    exact = F.conv2d(x, weight)
    direct, fast = (way(x.float(), weight.float(), None) for way in (F.conv2d, winograd))
    assert (fast - exact).norm() < 10 * (direct - exact).norm()


@pytest.mark.parametrize(("batch", "frames", "height", "width", "letters"), [(2, 3, 9, 13, 5), (1, 1, 40, 21, 2)])
def test_sums_by_label_are_the_convolution_of_one_hot_maps(batch, frames, height, width, letters) -> None:
    ids, table = torch.randint(letters, (batch, frames, height, width)), drawn(frames, 49, letters, 4)
    maps = F.one_hot(ids, letters).permute(0, 1, 4, 2, 3).flatten(1, 2).double()
    weight = table.permute(3, 0, 2, 1).reshape(4, -1, 7, 7)
    agree(F.conv2d(F.pad(maps, (3,) * 4, mode="reflect"), weight), label_sum(ids, table), (table,))


@pytest.mark.parametrize("outputs", [1, 3])
def test_heads_line_by_line_are_the_convolution(outputs) -> None:
    x, weight, bias = drawn(2, 5, 12, 15), drawn(outputs, 5, 7, 7), drawn(outputs)
    agree(F.conv2d(x, weight, bias), split_convolution(x, weight, bias), (x, weight, bias))
    head = HeadConv2d(5, outputs, 7).double()
    torch.testing.assert_close(head(x), F.conv2d(x, head.weight, head.bias), **CLOSE)


def test_norms_of_channels_that_lie_last_are_batch_norm() -> None:
    x, weight, bias = drawn(3, 4, 5, 6, last=True), drawn(4), drawn(4)
    mean, variance = statistics(x.detach())
    agree(F.batch_norm(x, None, None, weight, bias, True, 0.0, 1e-5),
          normalised(x, mean, variance, weight, bias, 1e-5), (x, weight, bias))


def test_statistics_of_many_pixels_are_exact() -> None:
    x = (torch.randn(1, 2, 500, 1000) + 3).contiguous(memory_format=torch.channels_last)
    mean, variance = statistics(x)
    torch.testing.assert_close(mean, x.double().mean((0, 2, 3)).float(), rtol=3e-7, atol=0)
    torch.testing.assert_close(variance, x.double().var((0, 2, 3), correction=0).float(), rtol=1e-6, atol=0)


def test_running_statistics_do_not_depend_on_the_layout() -> None:
    one, other = BatchNorm(3), BatchNorm(3)
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(one(x), other(x.contiguous(memory_format=torch.channels_last)))
    torch.testing.assert_close(one.state_dict(), other.state_dict())


def drawn_norm(channels: int) -> BatchNorm:
    norm = BatchNorm(channels)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("last", [True, False])
def test_samples_apart_are_normalised_as_if_alone(last) -> None:
    norm, x = drawn_norm(3).double(), drawn(3, 3, 4, 5, last=last, learns=False)
    with apart(norm):
        together = norm(x)
    torch.testing.assert_close(together, torch.cat([norm(sample) for sample in x.split(1)]), **CLOSE)
    assert not torch.allclose(together, norm(x))


@torch.no_grad()
@pytest.mark.parametrize(("last", "off"), [(False, 0), (True, 1e-6)])
def test_samples_apart_are_a_loop_in_one_call(last, off) -> None:
    """Plainly to the last bit; channels last to rounding, where both are as near to the exact value."""
    norm, x = drawn_norm(16), drawn(4, 16, 32, 48, last=last, learns=False).float()
    loop = torch.cat([norm(sample) for sample in x.split(1)])
    with apart(norm):
        together = norm(x)
    torch.testing.assert_close(together, loop, rtol=0, atol=off)
    assert together.is_contiguous(memory_format=torch.channels_last) == last
    with torch.autocast("cpu", torch.bfloat16), apart(norm):
        half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), loop, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_running_statistics_stay_as_they_are_apart(last, batch) -> None:
    norm, x = BatchNorm(3).double().train(), drawn(batch, 3, 4, 5, last=last, learns=False) + 7
    with apart(norm):
        norm(x)
    assert not norm.running_mean.any()
    norm(x)
    assert norm.running_mean.all()
