"""A trained run by its folder alone: what it was trained with stands in its opt.txt."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.first_frame import choose_first_pictures
from models.future_labels import LabelPredictor
from models.generators import build_generator
from models.saving import load_generator, load_network, weight_file
from models.synthesizer import Synthesizer
from options import configs
from options.methods import METHODS
from options.parsing import Options
from options.stored import FIRST_PICTURES, read_texts, trained_options
from options.test import parse_test
from util.checkpoint import read_weights
from util.errors import UserError
from util.placement import place


def run_options(folder: Path, *flags: str) -> Options:
    """The options of test.py for a run in `folder`, those of its networks and data as it was trained. flags: others."""
    path = folder / "opt.txt"
    if not path.is_file():
        raise UserError(f"{path} is not there: give the folder of a run, checkpoints/NAME")
    begins = read_texts(path).get("no_first_img") == "True" or any(
        flag.split("=")[0] == f"--{key}" for flag in flags for key in FIRST_PICTURES)
    first = [] if begins else ["--use_real_img"]
    return parse_test([*first, "--checkpoints_dir", str(folder.parent), "--name", folder.name, *flags])


def load_predictor(folder: Path, label_nc: int, device: torch.device) -> LabelPredictor:
    """The network of `--future_labels`, from its run's folder. label_nc: of the maps that it is to predict."""
    flag = "--future_labels"
    options = trained_options(folder, "future_labels", flag)
    if options.label_nc != label_nc:
        raise UserError(f"{flag} {folder} predicts the maps of --label_nc {options.label_nc}, the video's run has "
                        f"{label_nc}: give one that was trained on the same labels")
    networks = METHODS[options.model].networks(options)
    (name, network), = networks.named().items()
    path = weight_file(folder, "latest", name)
    load_network(network, read_weights(path, flag), str(path))
    assert isinstance(network, LabelPredictor)
    return network.to(device)


def load_networks(options: Options) -> nn.ModuleList:
    """The generators of a run. UserError: their weights are not there, or another network's."""
    networks = build_generator(configs.generator(options))
    load_generator(networks, configs.run_folder(options), options.which_epoch, options.allow_partial, options.use_ema)
    return networks


def load_synthesizer(options: Options) -> Synthesizer:
    """The trained networks, ready to step. UserError: their weights are not there, or another network's."""
    if options.keyframes > 1:
        raise UserError(f"--keyframes {options.keyframes}: frame by frame there is none to wait for: leave it out")
    networks = load_networks(options)
    first, _ = choose_first_pictures(configs.first_frame(options))
    return Synthesizer(networks, configs.synthesis(options), first, place(configs.placement(options)).device)
