"""The perceptual loss on VGG19 features (SPEC 8), with torchvision's network and weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.losses.functional import l1_loss
from models.ops.dispatch import is_wide, should_use_winograd, to_channels_last
from models.ops.winograd import transform_weight, winograd_conv2d
from util.distributed.amp import promote_to_float32
from util.errors import UserError
from util.io.state_dict import load_state_dict_strict, safe_load_state_dict
from util.runtime.torchvision_compat import import_torchvision

# the layers whose activations are compared (torchvision's numbering: relu1_1, 2_1, 3_1, 4_1, 5_1) and their weights
VGG_LAYER_WEIGHTS = {1: 1 / 32, 6: 1 / 16, 11: 1 / 8, 20: 1 / 4, 29: 1.0}
_VGG_FIRST_CHANNELS = 64  # of its first layers
_MAX_IMAGE_WIDTH = 1024  # images are halved until they are no wider


class PerceptualLoss(nn.Module):
    """Weighted L1 between VGG19 activations. Images are taken as they are, in [-1, 1]. Its weights never train."""

    def __init__(self) -> None:
        super().__init__()
        vgg = import_torchvision().models.vgg
        self.features = vgg.make_layers(vgg.cfgs["E"])[
            : max(VGG_LAYER_WEIGHTS) + 1
        ]  # without its classifier, 120 of 144 M weights
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # what a function of ours returns cannot be changed in place
        self.requires_grad_(False)

    @cached_property
    def winograd_weights(self) -> dict[int, Tensor]:
        """The wide convolutions' weights as `winograd` wants them, by layer: 200 MB that are needed twice a step."""
        return {
            index: transform_weight(layer.weight)
            for index, layer in enumerate(self.features)
            if isinstance(layer, nn.Conv2d) and is_wide(layer.weight)
        }

    def extract_activations(self, x: Tensor) -> list[Tensor]:
        kept = []
        x = to_channels_last(x, _VGG_FIRST_CHANNELS)
        for index, layer in enumerate(self.features):
            if isinstance(layer, nn.Conv2d) and should_use_winograd(x, layer.weight):
                x = winograd_conv2d(
                    x,
                    layer.weight,
                    layer.bias,
                    padding=1,
                    transformed_weight=self.winograd_weights[index],
                )
            else:
                x = layer(x)
            if index in VGG_LAYER_WEIGHTS:
                kept.append(x)
        return kept

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """fake: (K N, 3, H, W), K versions of real (N, 3, H, W) -> scalar, their mean; no gradient goes to `real`."""
        while fake.shape[-1] > _MAX_IMAGE_WIDTH:
            fake, real = F.avg_pool2d(fake, 2), F.avg_pool2d(real, 2)
        with torch.no_grad():
            targets = self.extract_activations(real)
        pairs = zip(
            VGG_LAYER_WEIGHTS.values(), self.extract_activations(fake), targets, strict=True
        )
        return torch.stack(
            [
                weight * _l1_to_repeated_real(promote_to_float32(x), promote_to_float32(y))
                for weight, x, y in pairs
            ]
        ).sum()


def _l1_to_repeated_real(fake: Tensor, real: Tensor) -> Tensor:
    """L1 between (K N, C, h, w) and the (N, C, h, w) that each K of them are versions of, in the layout they have."""
    return l1_loss(fake, torch.cat([real] * (len(fake) // len(real))))


def _select_feature_weights(
    state: Mapping[str, Tensor], network: PerceptualLoss
) -> dict[str, Tensor]:
    """Select the weights of the used layers from the state dict of VGG19 or of its features."""
    bare = {key.removeprefix("features."): value for key, value in state.items()}
    return {key: value for key, value in bare.items() if key in network.features.state_dict()}


def _load_published_weights() -> Mapping[str, Tensor]:
    weights = import_torchvision().models.VGG19_Weights.IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError) as problem:
        raise UserError(
            f"the weights of VGG19 are neither in torch's cache ({torch.hub.get_dir()}/checkpoints) nor could they be "
            f"fetched ({problem}): fetch {weights.url} on another machine and give it with --vgg_weights PATH, "
            "or train without the perceptual loss: --no_vgg"
        ) from None


def load_perceptual_loss(path: Path | None) -> PerceptualLoss:
    """With the weights of `path`, or else torchvision's published ones. UserError when they cannot be had."""
    network = PerceptualLoss()
    state = safe_load_state_dict(path, "--vgg_weights") if path else _load_published_weights()
    load_state_dict_strict(
        network.features,
        _select_feature_weights(state, network),
        str(path or "torchvision's VGG19"),
    )
    return network
