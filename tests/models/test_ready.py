import torch
from torch import nn

from models import first_frame
from models.blocks import HeadConv2d
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


def test_on_a_cpu_weights_are_left_alone() -> None:
    networks = tiny_networks(tiny_options("--label_nc 5")).generator
    before = {key: value.data_ptr() for key, value in networks.state_dict().items()}
    assert ready(networks, "bf16", CPU) is networks
    assert {key: value.data_ptr() for key, value in networks.state_dict().items()} == before
