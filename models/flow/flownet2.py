"""FlowNet2 (Ilg et al., CVPR 2017) as a reference flow estimator, with the published state-dict keys.

FlowNet2 is a stack of FlowNetC and two FlowNetS for large displacements, FlowNetSD for small ones, and a fusion
network. Level k of a network is 2^k times smaller than the images. Each network estimates flow at its coarsest
level and refines it level by level.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.flow.correlation import correlation
from models.flow.estimator import FlowEstimator, add_confidence, resize_flow, resize_maps
from models.flow.warp import warp
from util.clip import FlowEstimate
from util.errors import UserError
from util.io.atomic import hash_file
from util.io.state_dict import describe_state_dict_mismatch, safe_load_dict

# FlowNetC and FlowNetS predict flow in units of 20 pixels, FlowNetSD in units of 1/20 pixel.
_FLOWNET2_FLOW_SCALE = 20.0
FLOWNET2_SIZE_MULTIPLE = 64  # the images are halved six times

# Channels at each level of FlowNetC, FlowNetS and FlowNetSD: of its features, and of those upsampled from the level
# above.
_TRUNK_CHANNELS = {2: 128, 3: 256, 4: 512, 5: 512, 6: 1024}
_TRUNK_UP_CHANNELS = {5: 512, 4: 256, 3: 128, 2: 64}
_FUSION_CHANNELS = {0: 64, 1: 128, 2: 128}
_FUSION_UP_CHANNELS = {1: 32, 0: 16}

_FLOWNET2_FLAG = "--flownet2_checkpoint"
_DOWNLOAD_SCRIPT = "scripts/download_models_flownet2.py"
_PUBLISHED_FILE_BYTES = 650_102_505
# The published file also holds the best validation error, a numpy scalar. These types load it; none runs code.
_SAFE_GLOBALS: list[Any] = [
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    codecs.encode,
]


class FlowNet2Estimator(FlowEstimator):
    """FlowNet2 for images of any size.

    As published: sides that are not multiples of 64 are resized to the next smaller multiple (at least 64). Flow and
    confidence are computed at that size and resized back.

    Attributes:
        network: Maps (first, second), both (N, 3, H, W) with sides that are multiples of 64, to flow (N, 2, H, W).
    """

    name = "flownet2"

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor], version: str = "") -> None:
        self.network = network
        self.version = version

    def estimate(self, current: Tensor, previous: Tensor) -> Tensor:
        """Return the flow, (N, 2, H, W)."""
        return self(current, previous).flow

    @torch.no_grad()
    def __call__(self, current: Tensor, previous: Tensor) -> FlowEstimate:
        """Return the flow, and its confidence at the network's size, resized."""
        height, width = current.shape[2:]
        size = _round_to_network_side(height), _round_to_network_side(width)
        # float32: flow of hundreds of pixels needs more than half precision
        with torch.autocast(current.device.type, enabled=False):
            first, second = resize_maps(current.float(), size), resize_maps(previous.float(), size)
            estimate = add_confidence(self.network(first, second), first, second)
        return FlowEstimate(
            resize_flow(estimate.flow, (height, width)),
            resize_maps(estimate.confidence, (height, width)),
        )


def _round_to_network_side(side: int) -> int:
    return max(side // FLOWNET2_SIZE_MULTIPLE, 1) * FLOWNET2_SIZE_MULTIPLE


def load_flownet2(path: Path, device: torch.device) -> FlowNet2Estimator:
    """Load the published file, a dict with the weights under `state_dict`, onto `device`.

    Raises:
        UserError: The file is missing or broken, or holds other weights.
    """
    with torch.device("meta"):
        network = FlowNet2()
    state = _read_state_dict(path)
    mismatch = describe_state_dict_mismatch(network, state)
    if mismatch:
        raise UserError(
            f"{path} ({_FLOWNET2_FLAG}) does not hold FlowNet2: found {_describe_size(state.values())}, expected "
            f"{_describe_size(network.parameters())}; {mismatch}: get it with {_DOWNLOAD_SCRIPT}"
        )
    network.load_state_dict(state, assign=True)
    network.requires_grad_(False).eval().to(device)
    return FlowNet2Estimator(network, hash_file(path))


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(
            f"--flow_net flownet2: {path} does not exist: get it with {_DOWNLOAD_SCRIPT}, name it with "
            f"{_FLOWNET2_FLAG}, or use --flow_net raft, dis or none"
        )
    try:
        with torch.serialization.safe_globals(_SAFE_GLOBALS):
            checkpoint = safe_load_dict(path, _FLOWNET2_FLAG)
    except UserError as error:
        raise UserError(
            f"{error}; it has {path.stat().st_size:,} bytes, the published file {_PUBLISHED_FILE_BYTES:,}: "
            f"download it again with {_DOWNLOAD_SCRIPT}"
        ) from None
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        keys = ", ".join(map(str, list(checkpoint)[:4])) or "nothing"
        raise UserError(
            f"{path} ({_FLOWNET2_FLAG}) does not hold FlowNet2: found {keys}, expected a dict whose state_dict holds "
            f"the weights: get it with {_DOWNLOAD_SCRIPT}"
        )
    return state


def _describe_size(tensors: Iterable[Tensor]) -> str:
    sizes = [tensor.numel() for tensor in tensors]
    return f"{sum(sizes):,} parameters in {len(sizes)} tensors"


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
        """Map images (N, 3, H, W) in [-1, 1] to flow (N, 2, H, W) in pixels; sides: multiples of 64."""
        assert first.shape[2] % FLOWNET2_SIZE_MULTIPLE == 0
        assert first.shape[3] % FLOWNET2_SIZE_MULTIPLE == 0
        mean = torch.stack([first, second]).mean((0, 3, 4))[:, :, None, None]
        first, second = first - mean, second - mean
        flow = self.flownetc(first, second)
        flow = _upsample4(_FLOWNET2_FLOW_SCALE * flow, "bilinear")
        flow = self.flownets_1(_build_flownets_input(first, second, flow))
        flow = _upsample4(_FLOWNET2_FLOW_SCALE * flow, "bilinear")
        flow = self.flownets_2(_build_flownets_input(first, second, flow))
        large_flow = _upsample4(_FLOWNET2_FLOW_SCALE * flow, "nearest")
        flow = self.flownets_d(torch.cat([first, second], 1))
        small_flow = _upsample4(flow / _FLOWNET2_FLOW_SCALE, "nearest")
        return self.flownetfusion(_build_fusion_input(first, second, small_flow, large_flow))


def _build_flownets_input(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """Return (N, 12, H, W): both images, the warped second one, the flow, and the warping error."""
    warped = warp(second, flow)
    error = _channel_norm(first - warped)
    return torch.cat([first, second, warped, flow / _FLOWNET2_FLOW_SCALE, error], 1)


def _build_fusion_input(
    first: Tensor, second: Tensor, small_flow: Tensor, large_flow: Tensor
) -> Tensor:
    """Return (N, 11, H, W): the first image, both flows, their lengths, and their warping errors."""
    flows = [small_flow, large_flow]
    lengths = [_channel_norm(flow) for flow in flows]
    errors = [_channel_norm(first - warp(second, flow)) for flow in flows]
    return torch.cat([first, *flows, *lengths, *errors], 1)


def _channel_norm(x: Tensor) -> Tensor:
    return x.norm(dim=1, keepdim=True)


def _upsample4(flow: Tensor, mode: str) -> Tensor:
    return F.interpolate(flow, scale_factor=4, mode=mode)


class _FlowNet(nn.Module):
    """Layers under the names of the published file: `conv4_1` is the second convolution of level 4."""

    def __init__(self, *parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for part in parts:
            for name, module in part.items():
                self.add_module(name, module)

    def _run(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = self.get_submodule(name)(x)
        return x

    def _contract(self, conv3_1: Tensor) -> dict[int, Tensor]:
        """Return the features of levels 3 to 6."""
        features = {3: conv3_1}
        for level in (4, 5, 6):
            features[level] = self._run(features[level - 1], f"conv{level}", f"conv{level}_1")
        return features

    def _expand(self, features: Mapping[int, Tensor]) -> Tensor:
        """Return flow at the finest level of `features`, refined from the coarsest one."""
        (coarsest, x), *finer = sorted(features.items(), reverse=True)
        flow = self._run(x, f"predict_flow{coarsest}")
        for level, level_features in finer:
            flow = self._run(flow, f"upsampled_flow{level + 1}_to_{level}")
            x = torch.cat([level_features, self._run(x, f"deconv{level}"), flow], 1)
            layers = [f"predict_flow{level}"]
            if hasattr(self, f"inter_conv{level}"):  # FlowNetC and FlowNetS have none
                layers.insert(0, f"inter_conv{level}")
            flow = self._run(x, *layers)
        return flow


class FlowNetC(_FlowNet):
    """Flow from the correlation of the features of two images (N, 3, H, W).

    In units of 20 pixels, at a quarter of the size.
    """

    def __init__(self) -> None:
        matching = {"conv_redir": _build_conv(256, 32, 1), "conv3_1": _build_conv(32 + 441, 256)}
        stem, trunk = _build_stem(3), _build_trunk()
        expansion = _build_expansion(_TRUNK_CHANNELS, _TRUNK_UP_CHANNELS)
        super().__init__(stem, matching, trunk, expansion)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return flow from `first` to `second`."""
        conv2 = self._run(first, "conv1", "conv2")
        conv3 = self._run(conv2, "conv3")
        conv3_second = self._run(second, "conv1", "conv2", "conv3")
        matches = F.leaky_relu(correlation(conv3, conv3_second, max_displacement=20, stride=2), 0.1)
        conv3_1 = self._run(torch.cat([self._run(conv3, "conv_redir"), matches], 1), "conv3_1")
        return self._expand({2: conv2, **self._contract(conv3_1)})


class FlowNetS(_FlowNet):
    """Refines flow. Input: (N, 12, H, W), see `_build_flownets_input`.

    Units and size are those of FlowNetC.
    """

    def __init__(self) -> None:
        expansion = _build_expansion(_TRUNK_CHANNELS, _TRUNK_UP_CHANNELS, has_upsample_bias=False)
        stem = _build_stem(12)
        level3 = {"conv3_1": _build_conv(256, 256)}
        super().__init__(stem, level3, _build_trunk(), expansion)

    def forward(self, x: Tensor) -> Tensor:
        """Return flow at a quarter of the size."""
        conv2 = self._run(x, "conv1", "conv2")
        return self._expand({2: conv2, **self._contract(self._run(conv2, "conv3", "conv3_1"))})


class FlowNetSD(_FlowNet):
    """Flow of small displacements from both images (N, 6, H, W).

    In units of 1/20 pixel, at a quarter of the size.
    """

    def __init__(self) -> None:
        level3 = {"conv3": _build_conv(128, 256, stride=2), "conv3_1": _build_conv(256, 256)}
        stem, trunk = _build_small_stem(6), _build_trunk()
        expansion = _build_expansion(_TRUNK_CHANNELS, _TRUNK_UP_CHANNELS, has_inter_conv=True)
        super().__init__(stem, level3, trunk, expansion)

    def forward(self, x: Tensor) -> Tensor:
        """Return flow at a quarter of the size."""
        conv2_1 = self._run(x, "conv0", "conv1", "conv1_1", "conv2", "conv2_1")
        return self._expand({2: conv2_1, **self._contract(self._run(conv2_1, "conv3", "conv3_1"))})


class FlowNetFusion(_FlowNet):
    """Fuses two flows. Input: (N, 11, H, W), see `_build_fusion_input`."""

    def __init__(self) -> None:
        stem = _build_small_stem(11)
        expansion = _build_expansion(_FUSION_CHANNELS, _FUSION_UP_CHANNELS, has_inter_conv=True)
        super().__init__(stem, expansion)

    def forward(self, x: Tensor) -> Tensor:
        """Return flow in pixels, at full size."""
        conv0 = self._run(x, "conv0")
        conv1_1 = self._run(conv0, "conv1", "conv1_1")
        return self._expand({0: conv0, 1: conv1_1, 2: self._run(conv1_1, "conv2", "conv2_1")})


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
        channels = _TRUNK_CHANNELS[level]
        modules[f"conv{level}"] = _build_conv(_TRUNK_CHANNELS[level - 1], channels, stride=2)
        modules[f"conv{level}_1"] = _build_conv(channels, channels)
    return modules


def _build_expansion(
    feature_channels: Mapping[int, int],
    up_channels: Mapping[int, int],
    has_inter_conv: bool = False,
    has_upsample_bias: bool = True,
) -> dict[str, nn.Module]:
    """Build the layers that `_FlowNet._expand` runs.

    Args:
        feature_channels: Channels of the network's features at each level.
        up_channels: Channels upsampled to each level from the level above.
        has_inter_conv: Whether a convolution precedes each flow prediction but the coarsest.
        has_upsample_bias: Whether the upsampling of the flow has a bias.
    """
    input_channels = dict(feature_channels)  # of each level: features, upsampled features, flow
    for level, channels in up_channels.items():
        input_channels[level] += channels + 2
    predict_channels = dict(input_channels)  # of the convolution that predicts flow
    if has_inter_conv:
        predict_channels.update(up_channels)

    # The order of the layers is the order of the published state dict.
    layers: dict[str, nn.Module] = {}
    for level, channels in up_channels.items():
        layers[f"deconv{level}"] = _build_deconv(input_channels[level + 1], channels)
    if has_inter_conv:
        for level, channels in up_channels.items():
            conv = nn.Conv2d(input_channels[level], channels, 3, padding=1)
            layers[f"inter_conv{level}"] = nn.Sequential(conv)
    for level in sorted(feature_channels, reverse=True):
        layers[f"predict_flow{level}"] = nn.Conv2d(predict_channels[level], 2, 3, padding=1)
    for level in up_channels:
        layers[f"upsampled_flow{level + 1}_to_{level}"] = nn.ConvTranspose2d(
            2, 2, 4, 2, 1, bias=has_upsample_bias
        )
    return layers


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
