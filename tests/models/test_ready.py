import pytest
import torch
from torch import nn

import models.ready
from models import first_frame
from models.blocks import Conv3x3, HeadConv2d, ResnetBlock
from models.fast.choice import plainly
from models.ready import narrowed, ready
from models.synthesis import synthesise
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options

CPU = torch.device("cpu")


def test_narrowed_weights_paint_what_autocast_paints() -> None:
    options = tiny_options("--label_nc 5 --no_first_img --amp bf16 --n_scales_spatial 2")
    networks, clip = tiny_networks(options).generator, street_clip(6, 32, 48)
    frames = [clip.frames(t, t + 1) for t in range(6)]
    config = configs.synthesis(options)
    with plainly():  # as on a GPU: sums by label on a CPU keep float32
        before = [made for _, made in synthesise(networks, frames, first_frame.zeros, config, CPU)]
        narrowed(networks, torch.bfloat16)
        after = [made for _, made in synthesise(networks, frames, first_frame.zeros, config, CPU)]
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_norms_and_heads_keep_float32() -> None:
    networks = narrowed(tiny_networks(tiny_options("--label_nc 5 --norm batch")).generator, torch.float16)
    kept = [part for part in networks.modules() if isinstance(part, nn.BatchNorm2d | HeadConv2d)]
    inside = {id(weight) for part in kept for weight in part.parameters()}
    assert inside and {weight.dtype for weight in networks.parameters() if id(weight) in inside} == {torch.float32}
    assert {weight.dtype for weight in networks.parameters() if id(weight) not in inside} == {torch.float16}


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_on_a_cpu_weights_are_left_alone(amp: str) -> None:
    networks = tiny_networks(tiny_options("--label_nc 5")).generator
    before = {key: value.data_ptr() for key, value in networks.state_dict().items()}
    assert ready(networks, amp, CPU) is networks
    assert {key: value.data_ptr() for key, value in networks.state_dict().items()} == before


@pytest.mark.parametrize("most", [0, 2 * 36 * 128 * 128 * 4])
def test_on_a_cpu_transformed_weights_are_kept_as_far_as_they_fit(most, monkeypatch) -> None:
    monkeypatch.setattr(models.ready, "MOST_KEPT", most)
    torch.manual_seed(0)
    networks, x = nn.ModuleList([ResnetBlock(128, "batch"), ResnetBlock(8, "batch")]), torch.randn(1, 128, 16, 20)
    with torch.no_grad():
        before = networks[0](x)
        ready(networks, "off", CPU)
        assert torch.equal(networks[0](x), before)
    kept = [part.kernels is not None for part in networks.modules() if isinstance(part, Conv3x3)]
    assert kept == [most > 0, most > 0, False, False]
    learned = networks[0](x).square().sum()  # whoever learns all the same gets gradients, of the weights themselves
    assert all(bool(gradient.any()) for gradient in torch.autograd.grad(learned, networks[0].conv_block[1].weight))
