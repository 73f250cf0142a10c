import pytest
import torch
from torch import nn

import models.inference.prepare
from models.inference import first_frame
from models.inference.prepare import cast_conv_weights, prepare_for_inference
from models.inference.synthesizer import Synthesizer
from models.networks.blocks import Conv3x3, HeadConv2d, ResnetBlock
from models.ops.dispatch import reference_ops
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options

CPU = torch.device("cpu")


def test_cast_weights_generate_the_same_as_autocast() -> None:
    options = tiny_options("--label_nc 5 --no_first_img --amp bf16 --n_scales_spatial 2")
    networks, clip = tiny_networks(options).netG, street_clip(6, 32, 48)
    frames = [clip.slice_frames(t, t + 1) for t in range(6)]
    config = configs.synthesis_config(options)
    with reference_ops():  # as on a GPU: sums by label on a CPU keep float32
        before = [
            made
            for _, made in Synthesizer(networks, config, first_frame.make_zero_images).synthesize(
                frames
            )
        ]
        cast_conv_weights(networks, torch.bfloat16)
        after = [
            made
            for _, made in Synthesizer(networks, config, first_frame.make_zero_images).synthesize(
                frames
            )
        ]
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_norms_and_heads_keep_float32() -> None:
    networks = cast_conv_weights(
        tiny_networks(tiny_options("--label_nc 5 --norm batch")).netG, torch.float16
    )
    kept = [part for part in networks.modules() if isinstance(part, nn.BatchNorm2d | HeadConv2d)]
    inside = {id(weight) for part in kept for weight in part.parameters()}
    assert inside and {
        weight.dtype for weight in networks.parameters() if id(weight) in inside
    } == {torch.float32}
    assert {weight.dtype for weight in networks.parameters() if id(weight) not in inside} == {
        torch.float16
    }


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_weights_are_not_cast_on_cpu(amp: str) -> None:
    networks = tiny_networks(tiny_options("--label_nc 5")).netG
    before = {key: value.data_ptr() for key, value in networks.state_dict().items()}
    assert prepare_for_inference(networks, amp, CPU) is networks
    assert {key: value.data_ptr() for key, value in networks.state_dict().items()} == before


@pytest.mark.parametrize("most", [0, 2 * 36 * 128 * 128 * 4])
def test_winograd_weights_are_cached_on_cpu_within_the_memory_limit(most, monkeypatch) -> None:
    monkeypatch.setattr(models.inference.prepare, "MAX_WINOGRAD_CACHE_BYTES", most)
    torch.manual_seed(0)
    networks, x = (
        nn.ModuleList([ResnetBlock(128, "batch"), ResnetBlock(8, "batch")]),
        torch.randn(1, 128, 16, 20),
    )
    with torch.no_grad():
        before = networks[0](x)
        prepare_for_inference(networks, "off", CPU)
        assert torch.equal(networks[0](x), before)
    kept = [
        part.winograd_weight is not None for part in networks.modules() if isinstance(part, Conv3x3)
    ]
    assert kept == [most > 0, most > 0, False, False]
    learned = (
        networks[0](x).square().sum()
    )  # whoever learns all the same gets gradients, of the weights themselves
    assert all(
        bool(gradient.any())
        for gradient in torch.autograd.grad(learned, networks[0].conv_block[1].weight)
    )
