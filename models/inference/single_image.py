"""Finding and loading trained single-image networks. What a network is stands in its file: no flag has to repeat it."""

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
from models.ops.install import install_optimized_ops
from util.errors import UserError
from util.io.state_dict import load_state_dict_strict, safe_load_dict

_SINGLE_IMAGE_FLAGS = "--single_G, --use_single_G"
_FEATURE_TABLE_FILE = "features.npy"
_StateDict = Mapping[str, Tensor]


@dataclass(frozen=True)
class SingleImageFiles:
    """encoder, table: where they belong; there only for networks with features."""

    generator: Path
    encoder: Path
    feature_table: Path

    @property
    def has_encoder(self) -> bool:
        return self.encoder.is_file()


@dataclass(frozen=True)
class SingleImageModel:
    """encoder and table: of a network with features."""

    config: SingleImageConfig
    netG: nn.Module
    netE: Encoder | None = None
    feature_table: FeatureTable | None = None

    @property
    def size_multiple(self) -> int:
        """What height and width must divide by; all are powers of two."""
        return max(self.config.size_multiple, self.netE.config.size_multiple if self.netE else 1)


def find_single_image_files(path: Path) -> SingleImageFiles:
    """path: a run's folder (its latest weights) or one .pth file. UserError where no weights are."""
    generator = path / "latest_net_G.pth" if path.is_dir() else path
    if not generator.is_file():
        raise UserError(
            f"{generator} is not there: give {_SINGLE_IMAGE_FLAGS} the weights of a single-image network (train one with "
            "train.py --model single, or fetch the published ones: scripts/*/download_models.py)"
        )
    encoder = generator.with_name(generator.name.replace("net_G", "net_E"))
    return SingleImageFiles(
        generator,
        generator.with_name(f"{generator.stem}_E.pth") if encoder == generator else encoder,
        generator.with_name(_FEATURE_TABLE_FILE),
    )


def load_single_image_model(files: SingleImageFiles, device: torch.device) -> SingleImageModel:
    """In memory for as long as the caller holds it. UserError for files that are not of such a network."""
    state = safe_load_dict(files.generator, _SINGLE_IMAGE_FLAGS)
    config = infer_single_image_config(state, files.generator)
    with torch.device("meta"):  # nothing to draw: the file has it all
        network = build_single_image_generator(config)
    install_optimized_ops(_load_network(network, state, files.generator)).to(device)
    if not config.n_features:
        return SingleImageModel(config, network)
    state = safe_load_dict(
        files.encoder, f"{_SINGLE_IMAGE_FLAGS}: the encoder of {files.generator.name}"
    )
    with torch.device("meta"):
        encoder = Encoder(infer_encoder_config(state, files.encoder))
    _load_network(encoder, state, files.encoder).to(device)
    table = read_feature_table(files.feature_table)
    columns = next(iter(table.values())).shape[1]
    if not config.n_features == encoder.config.n_features == columns - 1:
        raise UserError(
            f"{files.generator} takes {config.n_features} features, {files.encoder.name} gives "
            f"{encoder.config.n_features} and {files.feature_table.name} holds {columns - 1}: they are not of one "
            "training"
        )
    return SingleImageModel(config, network, encoder, table)


def _load_network(network: nn.Module, state: _StateDict, path: Path) -> nn.Module:
    """On the CPU. Strictly, but for running statistics, which are never used and which other programs' files lack."""
    network.to_empty(device="cpu")
    unused = {
        key: torch.zeros_like(value)
        for key, value in network.state_dict().items()
        if key.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
    load_state_dict_strict(network, {**unused, **state}, str(path))
    return network.requires_grad_(False)


def infer_single_image_config(state: _StateDict, path: Path) -> SingleImageConfig:
    """The configuration of the network that has these weights. UserError where there is none."""
    entrance = "model_downsample" if "model_downsample.1.weight" in state else "model"
    enhancers = _count_matches(state, r"model(\d+)_1\.")
    if f"{entrance}.1.weight" not in state or (
        enhancers and "model1_2.0.conv_block.1.weight" not in state
    ):
        raise UserError(
            f"{path} is no single-image network ({_SINGLE_IMAGE_FLAGS} take global, local and those with features)"
        )
    width, inputs = state[f"{entrance}.1.weight"].shape[:2]
    halvings = len(_find_conv_keys(state, entrance, side=3))
    features = 0
    if entrance == "model":
        halvings //= 2  # the same number of doublings follows
    else:
        features = (
            state["model_upsample.0.weight"].shape[0]
            - state[f"{entrance}.{1 + 3 * halvings}.weight"].shape[0]
        ) // 2
    return SingleImageConfig(
        kind=_select_kind(bool(enhancers), bool(features)),
        condition_channels=inputs - features,
        n_features=features,
        width=width // 2**enhancers,
        n_downsample=halvings,
        n_blocks=_count_matches(state, rf"(?:{entrance}|model_resnet)\.(\d+)\.conv_block"),
        n_blocks_local=_count_matches(state, r"model1_2\.(\d+)\.conv_block"),
        n_enhancers=max(1, enhancers),
        norm="batch" if f"{entrance}.2.weight" in state else "instance",
    )


def infer_encoder_config(state: _StateDict, path: Path) -> EncoderConfig:
    """UserError for another network's weights."""
    ends = _find_conv_keys(state, "model", side=7)
    if len(ends) != 2:
        raise UserError(f"{path} is no encoder of features")
    return EncoderConfig(
        n_features=len(state[ends[-1]]),
        width=len(state[ends[0]]),
        n_downsample=len(_find_conv_keys(state, "model", side=3)) // 2,
        norm="batch" if "model.2.weight" in state else "instance",
    )


def _select_kind(is_local: bool, has_features: bool) -> SingleImageKind:
    if has_features:
        return "local_with_features" if is_local else "global_with_features"
    return "local" if is_local else "global"


def _count_matches(state: _StateDict, pattern: str) -> int:
    """Different numbers that the keys have in a place."""
    return len({found[1] for key in state if (found := re.match(pattern, key))})


def _find_conv_keys(state: _StateDict, stack: str, side: int) -> list[str]:
    """A stack's own convolutions (not those of residual blocks) with kernels of this side, in order."""
    return [
        key
        for key, value in state.items()
        if re.fullmatch(rf"{stack}\.\d+\.weight", key)
        and value.ndim == 4
        and value.shape[-1] == side
    ]
