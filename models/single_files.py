"""Finding and loading trained single-image networks. What a network is stands in its file: no flag has to repeat it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.single import Encoder, EncoderConfig, SingleConfig, SingleKind, build_single
from util.checkpoint import load_state, read_file
from util.errors import UserError
from util.feature_table import FeatureTable, read_feature_table

FLAGS = "--single_G, --use_single_G"
TABLE = "features.npy"
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class SingleFiles:
    """encoder, table: where they belong; there only for networks with features."""

    generator: Path
    encoder: Path
    table: Path

    @property
    def has_encoder(self) -> bool:
        return self.encoder.is_file()


@dataclass(frozen=True)
class SingleImage:
    """encoder and table: of a network with features."""

    config: SingleConfig
    network: nn.Module
    encoder: Encoder | None = None
    table: FeatureTable | None = None

    @property
    def size_multiple(self) -> int:
        """What height and width must divide by; all are powers of two."""
        return max(self.config.size_multiple, self.encoder.config.size_multiple if self.encoder else 1)


def find_single(path: Path) -> SingleFiles:
    """path: a run's folder (its latest weights) or one .pth file. UserError where no weights are."""
    generator = path / "latest_net_G.pth" if path.is_dir() else path
    if not generator.is_file():
        raise UserError(f"{generator} is not there: give {FLAGS} the weights of a single-image network (train one with "
                        "train.py --model single, or fetch the published ones: scripts/*/download_models.py)")
    encoder = generator.with_name(generator.name.replace("net_G", "net_E"))
    return SingleFiles(generator, generator.with_name(f"{generator.stem}_E.pth") if encoder == generator else encoder,
                       generator.with_name(TABLE))


def load_single(files: SingleFiles, device: torch.device) -> SingleImage:
    """In memory for as long as the caller holds it. UserError for files that are not of such a network."""
    state = read_file(files.generator, FLAGS)
    config = read_config(state, files.generator)
    with torch.device("meta"):  # nothing to draw: the file has it all
        network = build_single(config)
    _loaded(network, state, files.generator).to(device)
    if not config.n_features:
        return SingleImage(config, network)
    state = read_file(files.encoder, f"{FLAGS}: the encoder of {files.generator.name}")
    with torch.device("meta"):
        encoder = Encoder(read_encoder_config(state, files.encoder))
    _loaded(encoder, state, files.encoder).to(device)
    table = read_feature_table(files.table)
    columns = next(iter(table.values())).shape[1]
    if not config.n_features == encoder.config.n_features == columns - 1:
        raise UserError(f"{files.generator} takes {config.n_features} features, {files.encoder.name} gives "
                        f"{encoder.config.n_features} and {files.table.name} holds {columns - 1}: they are not of one "
                        "training")
    return SingleImage(config, network, encoder, table)


def _loaded(network: nn.Module, state: State, path: Path) -> nn.Module:
    """On the CPU. Strictly, but for running statistics, which are never used and which other programs' files lack."""
    network.to_empty(device="cpu")
    unused = {key: torch.zeros_like(value) for key, value in network.state_dict().items()
              if key.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    load_state(network, {**unused, **state}, str(path))
    return network.requires_grad_(False)


def read_config(state: State, path: Path) -> SingleConfig:
    """The configuration of the network that has these weights. UserError where there is none."""
    entrance = "model_downsample" if "model_downsample.1.weight" in state else "model"
    enhancers = _count(state, r"model(\d+)_1\.")
    if f"{entrance}.1.weight" not in state or (enhancers and "model1_2.0.conv_block.1.weight" not in state):
        raise UserError(f"{path} is no single-image network ({FLAGS} take global, local and those with features)")
    width, inputs = state[f"{entrance}.1.weight"].shape[:2]
    halvings = len(_kernels(state, entrance, side=3))
    features = 0
    if entrance == "model":
        halvings //= 2  # the same number of doublings follows
    else:
        features = (state["model_upsample.0.weight"].shape[0] - state[f"{entrance}.{1 + 3 * halvings}.weight"].shape[0]
                    ) // 2
    return SingleConfig(
        kind=_kind(bool(enhancers), bool(features)), condition_channels=inputs - features, n_features=features,
        width=width // 2**enhancers, n_downsample=halvings,
        n_blocks=_count(state, rf"(?:{entrance}|model_resnet)\.(\d+)\.conv_block"),
        n_blocks_local=_count(state, r"model1_2\.(\d+)\.conv_block"), n_enhancers=max(1, enhancers),
        norm="batch" if f"{entrance}.2.weight" in state else "instance")


def read_encoder_config(state: State, path: Path) -> EncoderConfig:
    """UserError for another network's weights."""
    ends = _kernels(state, "model", side=7)
    if len(ends) != 2:
        raise UserError(f"{path} is no encoder of features")
    return EncoderConfig(n_features=len(state[ends[-1]]), width=len(state[ends[0]]),
                         n_downsample=len(_kernels(state, "model", side=3)) // 2,
                         norm="batch" if "model.2.weight" in state else "instance")


def _kind(local: bool, features: bool) -> SingleKind:
    if features:
        return "local_with_features" if local else "global_with_features"
    return "local" if local else "global"


def _count(state: State, pattern: str) -> int:
    """Different numbers that the keys have in a place."""
    return len({found[1] for key in state if (found := re.match(pattern, key))})


def _kernels(state: State, stack: str, side: int) -> list[str]:
    """A stack's own convolutions (not those of residual blocks) with kernels of this side, in order."""
    return [key for key, value in state.items()
            if re.fullmatch(rf"{stack}\.\d+\.weight", key) and value.ndim == 4 and value.shape[-1] == side]
