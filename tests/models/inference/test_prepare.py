"""Preparation of generators for inference."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

import models.inference.prepare
from models.inference import first_frame
from models.inference.prepare import (
    cast_conv_weights,
    prepare_for_inference,
    share_for_inference,
)
from models.inference.synthesizer import Synthesizer
from models.networks.blocks import BatchStatNorm2d, ResnetBlock
from models.ops.dispatch import reference_ops
from models.ops.layers import WinogradConv2d
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options

CPU = torch.device("cpu")


def test_cast_weights_generate_the_same_as_autocast() -> None:
    options = tiny_options("--label_nc 5 --no_first_img --amp bf16 --n_scales_spatial 2")
    networks, clip = tiny_networks(options).netG, street_clip(6, 32, 48)
    frames = [clip.slice_frames(t, t + 1) for t in range(6)]
    config = configs.synthesis_config(options)

    def generate_images() -> list[Tensor]:
        synthesizer = Synthesizer(networks, config, first_frame.make_zero_images)
        return [image for _, image in synthesizer.synthesize(frames)]

    with reference_ops():  # as on a GPU: sums by label on a CPU keep float32
        expected = generate_images()
        cast_conv_weights(networks, torch.bfloat16)
        images = generate_images()
    torch.testing.assert_close(images, expected, rtol=0, atol=0)


def test_norms_and_heads_keep_float32() -> None:
    options = tiny_options("--label_nc 5 --norm batch --fg --fg_labels 1")
    networks = cast_conv_weights(tiny_networks(options).netG, torch.float16)
    kept = {name for name, weight in networks.named_parameters() if weight.dtype == torch.float32}
    norms = [
        name for name, module in networks.named_modules() if isinstance(module, nn.BatchNorm2d)
    ]
    heads = ["0.model_final_img", "0.model_final_flow", "0.model_final_w", "0.indv_final"]
    expected = {
        name
        for name, _ in networks.named_parameters()
        if any(name.startswith(f"{part}.") for part in [*norms, *heads])
    }
    assert kept == expected
    dtypes = {weight.dtype for name, weight in networks.named_parameters() if name not in kept}
    assert dtypes == {torch.float16}


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_weights_are_not_cast_on_cpu(amp: str) -> None:
    networks = tiny_networks(tiny_options("--label_nc 5")).netG
    before = {key: value.data_ptr() for key, value in networks.state_dict().items()}
    assert prepare_for_inference(networks, amp, CPU) is networks
    assert {key: value.data_ptr() for key, value in networks.state_dict().items()} == before


@pytest.mark.parametrize("max_bytes", [0, 2 * 36 * 128 * 128 * 4])
def test_winograd_weights_are_cached_on_cpu_within_the_memory_limit(max_bytes, monkeypatch) -> None:
    monkeypatch.setattr(models.inference.prepare, "MAX_WINOGRAD_CACHE_BYTES", max_bytes)
    torch.manual_seed(0)
    networks = nn.ModuleList([ResnetBlock(128, "batch"), ResnetBlock(8, "batch")])
    x = torch.randn(1, 128, 16, 20)
    with torch.no_grad():
        expected = networks[0](x)
        prepare_for_inference(networks, "off", CPU)
        torch.testing.assert_close(networks[0](x), expected, rtol=0, atol=1e-4)
    convs = [module for module in networks.modules() if isinstance(module, WinogradConv2d)]
    assert [conv.winograd_weight is not None for conv in convs] == [max_bytes > 0] * 2
    loss = networks[0](x).square().sum()  # with gradients the weights themselves are used
    (gradient,) = torch.autograd.grad(loss, networks[0].conv_block[1].weight)
    assert gradient.any()


def test_copy_for_inference_shares_weights_and_leaves_the_original() -> None:
    networks = tiny_networks(tiny_options("--label_nc 5")).netG
    shared = share_for_inference(networks)
    expected = {key: value.data_ptr() for key, value in networks.state_dict().items()}
    assert {key: value.data_ptr() for key, value in shared.state_dict().items()} == expected

    def uses_per_sample_stats(netG: nn.ModuleList) -> set[bool]:
        norms = [module for module in netG.modules() if isinstance(module, BatchStatNorm2d)]
        return {norm.per_sample_stats for norm in norms}

    assert uses_per_sample_stats(shared) == {True}
    assert uses_per_sample_stats(networks) == {False}
    assert uses_per_sample_stats(deepcopy(shared)) == {True}
