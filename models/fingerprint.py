"""What a network's weights tell of the options it was built with: why a file does not fit, in the user's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

Weights = Mapping[str, Tensor]


def explained(own: Weights, found: Weights) -> str:
    """The flags that the file `found` was made with and `own` was not; '' where the weights do not tell."""
    here, there = revealed(own), revealed(found)
    differing = [f"{flag} {there[flag]} in the file, {here[flag]} here" for flag in here
                 if flag in there and here[flag] != there[flag]]
    return f"give the flags that it was made with: {', '.join(differing)}" if differing else ""


def revealed(weights: Weights) -> dict[str, int | str]:
    """Flag -> its value, as far as names and shapes tell, for generators and discriminators of video. For files of
    any origin: what has not the expected shape tells nothing."""
    if "model_down_seg.1.weight" in weights:
        return dict(_of_generator(weights))
    return dict(_of_discriminator(weights))


def _of_generator(weights: Weights) -> Iterator[tuple[str, int | str]]:
    shapes = {key: tuple(value.shape) for key, value in weights.items() if value.ndim == 4}
    refines = any(key.startswith("model_up_img.0.conv_block") for key in weights)
    width, stacked = shapes.get("model_down_seg.1.weight", (0, 0))[:2]
    yield "--ngf (of this scale)", width
    n_frames = shapes.get("model_down_img.1.weight", (0, 0))[1] // 3 + 1
    yield "--n_frames_G", n_frames
    yield "channels of a frame's condition (--label_nc, --input_nc, --use_instance)", stacked // n_frames
    yield "--norm", "batch" if "model_down_seg.2.weight" in weights else "instance"
    yield "--no_flow", _given("model_final_flow.1.weight" not in weights)
    yield "--fg", _given("indv_final.1.weight" in weights)
    if refines:
        yield "--n_blocks_local", _blocks(weights, "model_up_img")
    else:
        yield "--n_downsample_G", sum(_doubles(key, shape) for key, shape in shapes.items())
        yield "--n_blocks", _blocks(weights, "model_down_seg", "model_res_img")


def _of_discriminator(weights: Weights) -> Iterator[tuple[str, int | str]]:
    keyed = [re.fullmatch(r"(?:scale(\d+)_layer(\d+)\.0|layer(\d+)\.(\d+))\.weight", key) for key in weights]
    convolutions = [match for match in keyed if match and weights[match[0]].ndim == 4]
    if not convolutions:
        return
    scales = {match[1] or match[3] for match in convolutions}
    yield "--num_D", len(scales)
    yield "--n_layers_D", len(convolutions) // len(scales) - 2
    yield "--no_ganFeat", _given(convolutions[0][1] is None)
    first = weights[convolutions[0][0]]
    yield "--ndf (of the coarsest scale)", first.shape[0]
    yield "channels that it sees (--label_nc, --input_nc, --use_instance, --n_frames_D)", first.shape[1]
    affine = any(key.endswith(".weight") and value.ndim == 1 for key, value in weights.items())
    yield "--norm", "batch" if affine else "instance"


def _given(is_given: bool) -> str:
    return "given" if is_given else "not given"


def _doubles(key: str, shape: tuple[int, ...]) -> bool:
    return (re.fullmatch(r"model_down_seg\.\d+\.weight", key) is not None and shape[0] == 2 * shape[1]
            and shape[2:] == (3, 3))


def _blocks(weights: Weights, *parts: str) -> int:
    return sum(key.split(".")[0] in parts and key.endswith("conv_block.1.weight") for key in weights)
