"""Find and load trained single-image networks. Their configuration is inferred from the weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.inference.feature_table import FeatureTable, read_feature_table
from models.networks.pix2pixhd import (
    Encoder,
    EncoderConfig,
    SingleImageConfig,
    SingleImageKind,
    build_single_image_generator,
)
from util.errors import UserError
from util.io.state_dict import load_state_dict_strict, safe_load_dict

_SINGLE_IMAGE_FLAGS = "--single_G, --use_single_G"
_FEATURE_TABLE_FILE = "features.npy"
_StateDict = Mapping[str, Tensor]


@dataclass(frozen=True)
class SingleImageFiles:
    """Paths of a single-image network. Only networks with features have the encoder and the table."""

    generator: Path
    encoder: Path
    feature_table: Path

    @property
    def has_encoder(self) -> bool:
        """Whether the encoder's file exists."""
        return self.encoder.is_file()


@dataclass(frozen=True)
class SingleImageModel:
    """A loaded single-image network. Only networks with features have netE and the table."""

    config: SingleImageConfig
    netG: nn.Module
    netE: Encoder | None = None
    feature_table: FeatureTable | None = None

    @property
    def size_multiple(self) -> int:
        """What height and width must be multiples of. All networks need powers of two."""
        encoder_multiple = self.netE.config.size_multiple if self.netE else 1
        return max(self.config.size_multiple, encoder_multiple)


def find_single_image_files(path: Path) -> SingleImageFiles:
    """Return the files that belong to a network.

    Args:
        path: a run's folder, for its latest weights, or one .pth file.

    Raises:
        UserError: there are no weights.
    """
    generator = path / "latest_net_G.pth" if path.is_dir() else path
    if not generator.is_file():
        raise UserError(
            f"{generator} does not exist: pass the weights of a single-image network to {_SINGLE_IMAGE_FLAGS} "
            "(train one with train.py --model single, or download the published ones with "
            "scripts/*/download_models.py)"
        )
    encoder = generator.with_name(generator.name.replace("net_G", "net_E"))
    if encoder == generator:
        encoder = generator.with_name(f"{generator.stem}_E.pth")
    return SingleImageFiles(generator, encoder, generator.with_name(_FEATURE_TABLE_FILE))


def load_single_image_model(files: SingleImageFiles, device: torch.device) -> SingleImageModel:
    """Load a network, with its encoder and feature table if it uses features.

    Raises:
        UserError: a file is missing, holds something else, or does not fit the others.
    """
    state = safe_load_dict(files.generator, _SINGLE_IMAGE_FLAGS)
    config = infer_single_image_config(state, files.generator)
    with torch.device("meta"):  # no initialization: all weights are loaded
        netG = build_single_image_generator(config)
    _load_weights(netG, state, files.generator).to(device)
    if not config.n_features:
        return SingleImageModel(config, netG)

    encoder_flags = f"{_SINGLE_IMAGE_FLAGS}: the encoder of {files.generator.name}"
    encoder_state = safe_load_dict(files.encoder, encoder_flags)
    with torch.device("meta"):
        netE = Encoder(infer_encoder_config(encoder_state, files.encoder))
    _load_weights(netE, encoder_state, files.encoder).to(device)

    feature_table = read_feature_table(files.feature_table)
    n_table_features = next(iter(feature_table.values())).shape[1] - 1
    if not config.n_features == netE.config.n_features == n_table_features:
        raise UserError(
            f"{files.generator} takes {config.n_features} features, {files.encoder.name} gives "
            f"{netE.config.n_features} and {files.feature_table.name} holds {n_table_features}: use the files of "
            "one training run"
        )
    return SingleImageModel(config, netG, netE, feature_table)


def _load_weights(network: nn.Module, state: _StateDict, path: Path) -> nn.Module:
    """Load weights on the CPU, strictly except for running statistics.

    These are never used, and files of other programs lack them.
    """
    network.to_empty(device="cpu")
    running_stats = {
        key: torch.zeros_like(value)
        for key, value in network.state_dict().items()
        if key.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
    load_state_dict_strict(network, {**running_stats, **state}, str(path))
    return network.requires_grad_(False)


def infer_single_image_config(state: _StateDict, path: Path) -> SingleImageConfig:
    """Return the configuration of the network that has these weights.

    Raises:
        UserError: they are not the weights of a single-image network.
    """
    has_features = "model_downsample.1.weight" in state
    stem = "model_downsample" if has_features else "model"
    n_enhancers = _count_matches(state, r"model(\d+)_1\.")
    has_stem = f"{stem}.1.weight" in state
    has_enhancer_blocks = "model1_2.0.conv_block.1.weight" in state
    if not has_stem or (n_enhancers and not has_enhancer_blocks):
        raise UserError(
            f"{path} is not a single-image network: {_SINGLE_IMAGE_FLAGS} take networks of --netG global, local, "
            "global_with_features or local_with_features"
        )
    width, in_channels = state[f"{stem}.1.weight"].shape[:2]
    # `model` holds as many upsampling as downsampling convolutions.
    n_convs = len(_find_conv_keys(state, stem, side=3))
    n_downsample = n_convs if has_features else n_convs // 2
    n_features = 0
    if has_features:
        # The trunk receives features beside its channels, and returns as many to the decoder.
        decoder_in = state["model_upsample.0.weight"].shape[0]
        trunk_width = state[f"{stem}.{1 + 3 * n_downsample}.weight"].shape[0]
        n_features = (decoder_in - trunk_width) // 2
    return SingleImageConfig(
        kind=_select_kind(is_local=bool(n_enhancers), has_features=bool(n_features)),
        condition_channels=in_channels - n_features,
        n_features=n_features,
        width=width // 2**n_enhancers,
        n_downsample=n_downsample,
        n_blocks=_count_matches(state, rf"(?:{stem}|model_resnet)\.(\d+)\.conv_block"),
        n_blocks_local=_count_matches(state, r"model1_2\.(\d+)\.conv_block"),
        n_enhancers=max(1, n_enhancers),
        norm="batch" if f"{stem}.2.weight" in state else "instance",
    )


def infer_encoder_config(state: _StateDict, path: Path) -> EncoderConfig:
    """Return the configuration of the encoder that has these weights.

    Raises:
        UserError: they are not the weights of an encoder.
    """
    first_and_last = _find_conv_keys(state, "model", side=7)
    if len(first_and_last) != 2:
        raise UserError(
            f"{path} is not a feature encoder: it has {len(first_and_last)} 7x7 convolutions, expected 2; pass a "
            f"network with its encoder to {_SINGLE_IMAGE_FLAGS}"
        )
    first, last = first_and_last
    return EncoderConfig(
        n_features=len(state[last]),
        width=len(state[first]),
        n_downsample=len(_find_conv_keys(state, "model", side=3)) // 2,
        norm="batch" if "model.2.weight" in state else "instance",
    )


def _select_kind(is_local: bool, has_features: bool) -> SingleImageKind:
    if has_features:
        return "local_with_features" if is_local else "global_with_features"
    return "local" if is_local else "global"


def _count_matches(state: _StateDict, pattern: str) -> int:
    """Count the different numbers that the pattern's group matches in the keys."""
    matches = (re.match(pattern, key) for key in state)
    return len({match[1] for match in matches if match})


def _find_conv_keys(state: _StateDict, stack: str, side: int) -> list[str]:
    """Return the keys of a stack's convolutions with side x side kernels, in order.

    Convolutions inside residual blocks are not included.
    """
    return [
        key
        for key, value in state.items()
        if re.fullmatch(rf"{stack}\.\d+\.weight", key)
        and value.ndim == 4
        and value.shape[-1] == side
    ]
