"""FlowNet2 (Ilg et al., CVPR 2017) in plain PyTorch: C, two S, SD and their fusion, under the published keys.

A level k of a network is 2^k times smaller than the images. Each network estimates flow at its coarsest level and
refines it level by level.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.flow.correlation import correlation
from models.flow.warp import warp

_FLOWNET2_FLOW_SCALE = 20.0  # pixels in what C and S call 1; SD sees pixels 20 times finer
FLOWNET2_SIZE_MULTIPLE = 64  # sides that six halvings divide
_TRUNK_CHANNELS = {
    2: 128,
    3: 256,
    4: 512,
    5: 512,
    6: 1024,
}  # features of each level that the refinement sees
_TRUNK_UP_CHANNELS = {
    5: 512,
    4: 256,
    3: 128,
    2: 64,
}  # and what it adds to them from the level above
_FUSION_CHANNELS = {0: 64, 1: 128, 2: 128}
_FUSION_UP_CHANNELS = {1: 32, 0: 16}


class _FlowNet(nn.Module):
    """Convolutions under the names of the published file, `conv4_1` being the second of level 4."""

    def __init__(self, *parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, module in [item for part in parts for item in part.items()]:
            self.add_module(name, module)

    def _run(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = self.get_submodule(name)(x)
        return x

    def _contract(self, conv3_1: Tensor) -> dict[int, Tensor]:
        """Features of levels 3 to 6."""
        levels = {3: conv3_1}
        for level in (4, 5, 6):
            levels[level] = self._run(levels[level - 1], f"conv{level}", f"conv{level}_1")
        return levels

    def _expand(self, features: Mapping[int, Tensor]) -> Tensor:
        """Flow at the finest level of `features`, through every level from the coarsest."""
        (coarsest, joined), *finer = sorted(features.items(), reverse=True)
        flow = self._run(joined, f"predict_flow{coarsest}")
        for level, own in finer:
            flow = self._run(flow, f"upsampled_flow{level + 1}_to_{level}")
            joined = torch.cat([own, self._run(joined, f"deconv{level}"), flow], 1)
            head = (f"inter_conv{level}", f"predict_flow{level}")  # C and S have no inter_conv
            flow = self._run(joined, *(name for name in head if hasattr(self, name)))
        return flow


class FlowNetC(_FlowNet):
    """Correlates the features of two images (N, 3, H, W); flow in units of 20 pixels, at a quarter of the size."""

    def __init__(self) -> None:
        matched = {"conv_redir": _build_conv(256, 32, 1), "conv3_1": _build_conv(32 + 441, 256)}
        super().__init__(
            _build_stem(3),
            matched,
            _build_trunk(),
            _build_expansion(_TRUNK_CHANNELS, _TRUNK_UP_CHANNELS),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        conv2 = self._run(first, "conv1", "conv2")
        conv3, other = self._run(conv2, "conv3"), self._run(second, "conv1", "conv2", "conv3")
        matches = F.leaky_relu(correlation(conv3, other, max_displacement=20, stride=2), 0.1)
        conv3_1 = self._run(torch.cat([self._run(conv3, "conv_redir"), matches], 1), "conv3_1")
        return self._expand({2: conv2, **self._contract(conv3_1)})


class FlowNetS(_FlowNet):
    """Corrects a flow from (N, 12, H, W): both images, the second one warped, the flow, the error that is left.

    Units and size as FlowNetC's.
    """

    def __init__(self) -> None:
        refinement = _build_expansion(_TRUNK_CHANNELS, _TRUNK_UP_CHANNELS, has_upsample_bias=False)
        super().__init__(
            _build_stem(12), {"conv3_1": _build_conv(256, 256)}, _build_trunk(), refinement
        )

    def forward(self, x: Tensor) -> Tensor:
        conv2 = self._run(x, "conv1", "conv2")
        return self._expand({2: conv2, **self._contract(self._run(conv2, "conv3", "conv3_1"))})


class FlowNetSD(_FlowNet):
    """Small displacements, from both images (N, 6, H, W); flow in 1/20 pixels, at a quarter of the size."""

    def __init__(self) -> None:
        level3 = {"conv3": _build_conv(128, 256, stride=2), "conv3_1": _build_conv(256, 256)}
        super().__init__(
            _build_small_stem(6),
            level3,
            _build_trunk(),
            _build_expansion(_TRUNK_CHANNELS, _TRUNK_UP_CHANNELS, has_inter_conv=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        conv2_1 = self._run(x, "conv0", "conv1", "conv1_1", "conv2", "conv2_1")
        return self._expand({2: conv2_1, **self._contract(self._run(conv2_1, "conv3", "conv3_1"))})


class FlowNetFusion(_FlowNet):
    """Chooses between two flows from (N, 11, H, W): the image, both flows, their lengths, the errors they leave.

    Flow in pixels, full size.
    """

    def __init__(self) -> None:
        super().__init__(
            _build_small_stem(11),
            _build_expansion(_FUSION_CHANNELS, _FUSION_UP_CHANNELS, has_inter_conv=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        conv0 = self._run(x, "conv0")
        conv1_1 = self._run(conv0, "conv1", "conv1_1")
        return self._expand({0: conv0, 1: conv1_1, 2: self._run(conv1_1, "conv2", "conv2_1")})


class FlowNet2(nn.Module):
    """Flow from `first` to `second`: first(p) ~ second(p + flow(p))."""

    def __init__(self) -> None:
        super().__init__()
        self.flownetc = FlowNetC()
        self.flownets_1 = FlowNetS()
        self.flownets_2 = FlowNetS()
        self.flownets_d = FlowNetSD()
        self.flownetfusion = FlowNetFusion()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1] with sides that are multiples of 64 -> (N, 2, H, W) pixels."""
        assert (
            first.shape[2] % FLOWNET2_SIZE_MULTIPLE == 0 == first.shape[3] % FLOWNET2_SIZE_MULTIPLE
        )
        mean = torch.stack([first, second]).mean((0, 3, 4))[:, :, None, None]
        first, second = first - mean, second - mean
        flow = _upsample4(_FLOWNET2_FLOW_SCALE * self.flownetc(first, second), "bilinear")
        flow = _upsample4(
            _FLOWNET2_FLOW_SCALE * self.flownets_1(_build_flownets_input(first, second, flow)),
            "bilinear",
        )
        large = _upsample4(
            _FLOWNET2_FLOW_SCALE * self.flownets_2(_build_flownets_input(first, second, flow)),
            "nearest",
        )
        small = _upsample4(
            self.flownets_d(torch.cat([first, second], 1)) / _FLOWNET2_FLOW_SCALE, "nearest"
        )
        return self.flownetfusion(_build_fusion_input(first, second, small, large))


def _build_flownets_input(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    warped = warp(second, flow)
    return torch.cat(
        [first, second, warped, flow / _FLOWNET2_FLOW_SCALE, _channel_norm(first - warped)], 1
    )


def _build_fusion_input(first: Tensor, second: Tensor, small: Tensor, large: Tensor) -> Tensor:
    errors = [_channel_norm(first - warp(second, flow)) for flow in (small, large)]
    return torch.cat([first, small, large, _channel_norm(small), _channel_norm(large), *errors], 1)


def _channel_norm(x: Tensor) -> Tensor:
    return x.norm(dim=1, keepdim=True)


def _upsample4(flow: Tensor, mode: str) -> Tensor:
    return F.interpolate(flow, scale_factor=4, mode=mode)


def _build_stem(channels: int) -> dict[str, nn.Module]:
    return {
        "conv1": _build_conv(channels, 64, 7, 2),
        "conv2": _build_conv(64, 128, 5, 2),
        "conv3": _build_conv(128, 256, 5, 2),
    }


def _build_small_stem(channels: int) -> dict[str, nn.Module]:
    return {
        "conv0": _build_conv(channels, 64),
        "conv1": _build_conv(64, 64, stride=2),
        "conv1_1": _build_conv(64, 128),
        "conv2": _build_conv(128, 128, stride=2),
        "conv2_1": _build_conv(128, 128),
    }


def _build_trunk() -> dict[str, nn.Module]:
    modules: dict[str, nn.Module] = {}
    for level in (4, 5, 6):
        modules[f"conv{level}"] = _build_conv(
            _TRUNK_CHANNELS[level - 1], _TRUNK_CHANNELS[level], stride=2
        )
        modules[f"conv{level}_1"] = _build_conv(_TRUNK_CHANNELS[level], _TRUNK_CHANNELS[level])
    return modules


def _build_expansion(
    feature_channels: Mapping[int, int],
    up_channels: Mapping[int, int],
    has_inter_conv: bool = False,
    has_upsample_bias: bool = True,
) -> dict[str, nn.Module]:
    """own, up: at each level, channels of the network's features and of those that come up from the level above.

    inter: flow is predicted from a further convolution of both, not from themselves.
    """
    joined = {
        level: width + (up_channels[level] + 2 if level in up_channels else 0)
        for level, width in feature_channels.items()
    }
    seen = {
        level: up_channels[level] if has_inter_conv and level in up_channels else width
        for level, width in joined.items()
    }
    return {
        **{f"deconv{k}": _build_deconv(joined[k + 1], up_channels[k]) for k in up_channels},
        **{
            f"inter_conv{k}": nn.Sequential(nn.Conv2d(joined[k], up_channels[k], 3, padding=1))
            for k in up_channels
            if has_inter_conv
        },
        **{
            f"predict_flow{k}": nn.Conv2d(seen[k], 2, 3, padding=1)
            for k in sorted(feature_channels, reverse=True)
        },
        **{
            f"upsampled_flow{k + 1}_to_{k}": nn.ConvTranspose2d(
                2, 2, 4, 2, 1, bias=has_upsample_bias
            )
            for k in up_channels
        },
    }


def _build_conv(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, (kernel_size - 1) // 2),
        nn.LeakyReLU(0.1, inplace=True),
    )


def _build_deconv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1), nn.LeakyReLU(0.1, inplace=True)
    )
