"""A trained run by its folder alone: what it was trained with stands in its opt.txt."""

from __future__ import annotations

from pathlib import Path

import torch

from models.checkpoint import get_weights_path, load_network
from models.inference.first_frame import build_first_image_provider
from models.inference.synthesizer import Synthesizer
from models.networks.label_predictor import LabelPredictor
from options import configs
from options.build_inference import build_synthesizer
from options.opt_file import FIRST_FRAME_FLAGS, load_training_options, read_opt_file
from options.parsing import Options
from options.registry import MODEL_REGISTRY
from options.test import parse_test
from util.distributed import setup_devices
from util.errors import UserError
from util.io.state_dict import safe_load_state_dict


def load_run_options(folder: Path, *flags: str) -> Options:
    """The options of test.py for a run in `folder`, those of its networks and data as it was trained. flags: others."""
    path = folder / "opt.txt"
    if not path.is_file():
        raise UserError(f"{path} is not there: give the folder of a run, checkpoints/NAME")
    begins = read_opt_file(path).get("no_first_img") == "True" or any(
        flag.split("=")[0] == f"--{key}" for flag in flags for key in FIRST_FRAME_FLAGS
    )
    first = [] if begins else ["--use_real_img"]
    return parse_test(
        [*first, "--checkpoints_dir", str(folder.parent), "--name", folder.name, *flags]
    )


def load_label_predictor(folder: Path, label_nc: int, device: torch.device) -> LabelPredictor:
    """The network of `--future_labels`, from its run's folder. label_nc: of the maps that it is to predict."""
    flag = "--future_labels"
    options = load_training_options(folder, "future_labels", flag)
    if options.label_nc != label_nc:
        raise UserError(
            f"{flag} {folder} predicts the maps of --label_nc {options.label_nc}, the video's run has "
            f"{label_nc}: give one that was trained on the same labels"
        )
    networks = MODEL_REGISTRY[options.model].build_networks(options)
    ((name, network),) = networks.named_networks().items()
    path = get_weights_path(folder, "latest", name)
    load_network(network, safe_load_state_dict(path, flag), str(path))
    assert isinstance(network, LabelPredictor)
    return network.to(device)


def load_synthesizer(opt: Options) -> Synthesizer:
    """The trained networks, ready to step. UserError: their weights are not there, or another network's."""
    if opt.keyframes > 1:
        raise UserError(
            f"--keyframes {opt.keyframes}: frame by frame there is none to wait for: leave it out"
        )
    get_first_images, _ = build_first_image_provider(configs.first_frame_config(opt))
    device_setup = setup_devices(configs.device_config(opt))
    synthesizer, _ = build_synthesizer(opt, get_first_images, device_setup)
    return synthesizer
