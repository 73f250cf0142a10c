"""Network weights on disk: saving and loading files with the published names and state-dict keys.

A run's folder `checkpoints/NAME` holds `{label}_net_{G0, G1, ..., D, D_T0, ..., D_f, E}.pth`, one state dict each. The
label is `latest`, `best` or an epoch number. The state to resume training from is in `models/training/resume.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn

from models.networks.collection import EMA_SUFFIX, Vid2VidModels
from util.errors import UserError
from util.io.atomic import recover_interrupted_write
from util.io.state_dict import (
    load_state_dict_partial,
    load_state_dict_strict,
    safe_load_state_dict,
    save_files_atomically,
)

_RUN_FLAGS = "--name, --checkpoints_dir, --which_epoch, --use_ema"
_PRETRAIN_FLAG = "--load_pretrain"

_StateDict = Mapping[str, Tensor]


# Saving


def get_weights_path(folder: Path, epoch_label: str, name: str) -> Path:
    """Return the path of the weights of the network `name`: G0, D, D_T0, ..."""
    return folder / f"{epoch_label}_net_{name}.pth"


def collect_weights(epoch_label: str, networks: Vid2VidModels) -> dict[str, object]:
    """Return the state dict of every network by its file name."""
    return {
        get_weights_path(Path(), epoch_label, name).name: network.state_dict()
        for name, network in networks.named_networks().items()
    }


def save_weights(folder: Path, epoch_label: str, networks: Vid2VidModels) -> None:
    """Save the weights of all networks under `epoch_label`: all files or none."""
    save_files_atomically(folder, collect_weights(epoch_label, networks))


# Loading


def load_network(network: nn.Module, state_dict: _StateDict, source: str) -> None:
    """Load a state dict strictly.

    Args:
        network: The network to load into.
        state_dict: Its weights.
        source: Where they are from, for the error message.

    Raises:
        UserError: Keys or shapes differ. The message names the options that explain the difference.
    """
    hint = describe_mismatch(network.state_dict(), state_dict)
    load_state_dict_strict(network, state_dict, source, hint=hint)


def load_generators(
    generators: nn.ModuleList,
    folder: Path,
    epoch_label: str,
    allow_partial: bool = False,
    uses_ema: bool = False,
) -> list[str]:
    """Load the generators of all spatial scales of a run.

    Args:
        generators: The coarsest scale first.
        folder: The run's folder.
        epoch_label: `latest`, `best` or an epoch number.
        allow_partial: Load the weights whose names and shapes match, instead of raising (`--allow_partial`).
        uses_ema: Load the exponential moving averages of the weights (`--use_ema`).

    Returns:
        With `allow_partial`, a line per file that says how much was loaded; else nothing.

    Raises:
        UserError: A file is missing or broken, does not match, or belongs to a finer scale than the generators have.
    """
    recover_interrupted_write(folder)
    finer_path = get_weights_path(folder, epoch_label, f"G{len(generators)}")
    if finer_path.is_file() and not allow_partial:
        raise UserError(
            f"{finer_path} belongs to a finer scale than --n_scales_spatial {len(generators)} builds: "
            "raise --n_scales_spatial, or remove the file if it is from another run"
        )
    suffix = EMA_SUFFIX if uses_ema else ""
    notes = []
    for scale, network in enumerate(generators):
        path = get_weights_path(folder, epoch_label, f"G{scale}{suffix}")
        notes += _load_generator_file(network, path, _RUN_FLAGS, allow_partial)
    return notes


def load_pretrained(
    networks: Vid2VidModels, folder: Path, epoch_label: str, allow_partial: bool = False
) -> list[str]:
    """Load the weights of another run or of a coarser stage, as far as it has them (`--load_pretrain`).

    Generators must match, except for finer scales that the other run lacks. A discriminator keeps its random
    initialization at every scale that the other run lacks or has in another shape.

    Returns:
        A line for each network or scale that keeps its random initialization, and with `allow_partial` for each
        generator file.

    Raises:
        UserError: The coarsest generator is missing, or a generator does not match.
    """
    recover_interrupted_write(folder)
    named_networks = networks.named_networks()
    coarsest = next(iter(named_networks))
    notes = []
    for name, network in named_networks.items():
        path = get_weights_path(folder, epoch_label, name)
        if name.endswith(EMA_SUFFIX) and not path.is_file():
            # A moving average without a file starts from the weights of its generator.
            path = get_weights_path(folder, epoch_label, name.removesuffix(EMA_SUFFIX))
        is_generator = name.startswith("G")
        if name == coarsest or (path.is_file() and is_generator):
            notes += _load_generator_file(network, path, _PRETRAIN_FLAG, allow_partial)
        elif not path.is_file():
            notes.append(f"{name} starts fresh: {folder} has no {path.name}")
        else:
            loaded = safe_load_state_dict(path, _PRETRAIN_FLAG)
            state_dict, fresh_scales = select_matching_scales(network.state_dict(), loaded)
            network.load_state_dict(state_dict)
            notes += [
                f"{name} {scale} starts fresh: {path.name} has none of this shape"
                for scale in fresh_scales
            ]
    return notes


def _load_generator_file(
    network: nn.Module, path: Path, flag: str, allow_partial: bool
) -> list[str]:
    state_dict = safe_load_state_dict(path, flag)
    if allow_partial:
        return [load_state_dict_partial(network, state_dict, str(path))]
    load_network(network, state_dict, str(path))
    return []


def select_matching_scales(
    current: _StateDict, loaded: _StateDict
) -> tuple[dict[str, Tensor], list[str]]:
    """Replace the scales of a discriminator that `loaded` has in the same shapes.

    Returns:
        The combined state dict, and the names of the scales that keep their `current` weights.
    """
    state_dict, fresh_scales = dict(current), []
    for scale in dict.fromkeys(map(_get_scale_prefix, current)):
        keys = [key for key in current if _get_scale_prefix(key) == scale]
        if all(key in loaded and loaded[key].shape == current[key].shape for key in keys):
            state_dict |= {key: loaded[key] for key in keys}
        else:
            fresh_scales.append(scale)
    return state_dict, fresh_scales


def _get_scale_prefix(key: str) -> str:
    """Return `scale0` for scale0_layer1.0.weight and `layer0` for layer0.2.weight."""
    return key.split(".")[0].split("_")[0]


# Inferring options from weights, to explain why a file does not match


def describe_mismatch(expected: _StateDict, loaded: _StateDict) -> str:
    """Describe the options that differ between two state dicts; '' if no difference is inferred."""
    expected_options, loaded_options = infer_options(expected), infer_options(loaded)
    differences = [
        f"{flag} {loaded_options[flag]} in the file, {value} in this run"
        for flag, value in expected_options.items()
        if flag in loaded_options and loaded_options[flag] != value
    ]
    if not differences:
        return ""
    return f"use the options it was trained with: {', '.join(differences)}"


def infer_options(state_dict: _StateDict) -> dict[str, int | str]:
    """Infer the options of a vid2vid generator or discriminator from its weights.

    It uses names and shapes only. The file may come from anywhere: entries of unexpected shapes are ignored.

    Returns:
        Values by flag.
    """
    if "model_down_seg.1.weight" in state_dict:
        return dict(_infer_generator_options(state_dict))
    return dict(_infer_discriminator_options(state_dict))


def _infer_generator_options(state_dict: _StateDict) -> Iterator[tuple[str, int | str]]:
    shapes = {key: tuple(value.shape) for key, value in state_dict.items() if value.ndim == 4}
    width, condition_channels = shapes.get("model_down_seg.1.weight", (0, 0))[:2]
    history_channels = shapes.get("model_down_img.1.weight", (0, 0))[1]
    n_frames = history_channels // 3 + 1  # the history is n_frames_G - 1 RGB images
    yield "--ngf (of this scale)", width
    yield "--n_frames_G", n_frames
    yield (
        "channels of a frame's condition (--label_nc, --input_nc, --use_instance)",
        condition_channels // n_frames,
    )
    yield "--norm", "batch" if "model_down_seg.2.weight" in state_dict else "instance"
    yield "--no_flow", _describe_flag("model_final_flow.1.weight" not in state_dict)
    yield "--fg", _describe_flag("indv_final.1.weight" in state_dict)
    is_finer_scale = any(key.startswith("model_up_img.0.conv_block") for key in state_dict)
    if is_finer_scale:
        yield "--n_blocks_local", _count_blocks(state_dict, "model_up_img")
    else:
        yield "--n_downsample_G", sum(_is_downsampling(key, shape) for key, shape in shapes.items())
        yield "--n_blocks", _count_blocks(state_dict, "model_down_seg", "model_res_img")


def _infer_discriminator_options(state_dict: _StateDict) -> Iterator[tuple[str, int | str]]:
    # scale0_layer0.0.weight with feature matching; layer0.0.weight without (--no_ganFeat)
    pattern = r"(?:scale(\d+)_layer(\d+)\.0|layer(\d+)\.(\d+))\.weight"
    matches = [re.fullmatch(pattern, key) for key in state_dict]
    convolutions = [match for match in matches if match and state_dict[match[0]].ndim == 4]
    if not convolutions:
        return
    scales = {match[1] or match[3] for match in convolutions}
    width, input_channels = state_dict[convolutions[0][0]].shape[:2]
    has_norm_weights = any(
        key.endswith(".weight") and value.ndim == 1 for key, value in state_dict.items()
    )
    yield "--num_D", len(scales)
    yield "--n_layers_D", len(convolutions) // len(scales) - 2
    yield "--no_ganFeat", _describe_flag(convolutions[0][1] is None)
    yield "--ndf (of the coarsest scale)", width
    yield "input channels (--label_nc, --input_nc, --use_instance, --n_frames_D)", input_channels
    yield "--norm", "batch" if has_norm_weights else "instance"


def _describe_flag(is_set: bool) -> str:
    return "set" if is_set else "not set"


def _is_downsampling(key: str, shape: tuple[int, ...]) -> bool:
    is_encoder_conv = re.fullmatch(r"model_down_seg\.\d+\.weight", key) is not None
    return is_encoder_conv and shape[0] == 2 * shape[1] and shape[2:] == (3, 3)


def _count_blocks(state_dict: _StateDict, *stages: str) -> int:
    """Return the number of residual blocks in these stages of a generator."""
    return sum(
        key.split(".")[0] in stages and key.endswith("conv_block.1.weight") for key in state_dict
    )
