"""What a network's weights tell of the options it was built with: why a file does not fit, in the user's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

_StateDict = Mapping[str, Tensor]


def describe_mismatch(expected: _StateDict, loaded: _StateDict) -> str:
    """The flags that the file `found` was made with and `own` was not; '' where the weights do not tell."""
    here, there = infer_options(expected), infer_options(loaded)
    differing = [
        f"{flag} {there[flag]} in the file, {here[flag]} here"
        for flag in here
        if flag in there and here[flag] != there[flag]
    ]
    return f"give the flags that it was made with: {', '.join(differing)}" if differing else ""


def infer_options(state_dict: _StateDict) -> dict[str, int | str]:
    """Flag -> its value, as far as names and shapes tell, for generators and discriminators of video. For files of
    any origin: what has not the expected shape tells nothing."""
    if "model_down_seg.1.weight" in state_dict:
        return dict(_infer_generator_options(state_dict))
    return dict(_infer_discriminator_options(state_dict))


def _infer_generator_options(state_dict: _StateDict) -> Iterator[tuple[str, int | str]]:
    shapes = {key: tuple(value.shape) for key, value in state_dict.items() if value.ndim == 4}
    refines = any(key.startswith("model_up_img.0.conv_block") for key in state_dict)
    width, stacked = shapes.get("model_down_seg.1.weight", (0, 0))[:2]
    yield "--ngf (of this scale)", width
    n_frames = shapes.get("model_down_img.1.weight", (0, 0))[1] // 3 + 1
    yield "--n_frames_G", n_frames
    yield (
        "channels of a frame's condition (--label_nc, --input_nc, --use_instance)",
        stacked // n_frames,
    )
    yield "--norm", "batch" if "model_down_seg.2.weight" in state_dict else "instance"
    yield "--no_flow", _describe_flag("model_final_flow.1.weight" not in state_dict)
    yield "--fg", _describe_flag("indv_final.1.weight" in state_dict)
    if refines:
        yield "--n_blocks_local", _count_blocks(state_dict, "model_up_img")
    else:
        yield "--n_downsample_G", sum(_is_downsampling(key, shape) for key, shape in shapes.items())
        yield "--n_blocks", _count_blocks(state_dict, "model_down_seg", "model_res_img")


def _infer_discriminator_options(state_dict: _StateDict) -> Iterator[tuple[str, int | str]]:
    keyed = [
        re.fullmatch(r"(?:scale(\d+)_layer(\d+)\.0|layer(\d+)\.(\d+))\.weight", key)
        for key in state_dict
    ]
    convolutions = [match for match in keyed if match and state_dict[match[0]].ndim == 4]
    if not convolutions:
        return
    scales = {match[1] or match[3] for match in convolutions}
    yield "--num_D", len(scales)
    yield "--n_layers_D", len(convolutions) // len(scales) - 2
    yield "--no_ganFeat", _describe_flag(convolutions[0][1] is None)
    first = state_dict[convolutions[0][0]]
    yield "--ndf (of the coarsest scale)", first.shape[0]
    yield (
        "channels that it sees (--label_nc, --input_nc, --use_instance, --n_frames_D)",
        first.shape[1],
    )
    affine = any(key.endswith(".weight") and value.ndim == 1 for key, value in state_dict.items())
    yield "--norm", "batch" if affine else "instance"


def _describe_flag(is_set: bool) -> str:
    return "given" if is_set else "not given"


def _is_downsampling(key: str, shape: tuple[int, ...]) -> bool:
    return (
        re.fullmatch(r"model_down_seg\.\d+\.weight", key) is not None
        and shape[0] == 2 * shape[1]
        and shape[2:] == (3, 3)
    )


def _count_blocks(state_dict: _StateDict, *stages: str) -> int:
    return sum(
        key.split(".")[0] in stages and key.endswith("conv_block.1.weight") for key in state_dict
    )
