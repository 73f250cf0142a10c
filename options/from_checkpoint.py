"""Load the networks of a trained run from its folder; opt.txt holds the options of the networks."""

from __future__ import annotations

from pathlib import Path

import torch

from models.checkpoint import get_weights_path, load_network
from models.networks.label_predictor import LabelPredictor
from models.ops.install import install_optimized_ops
from options.opt_file import FIRST_FRAME_FLAGS, load_training_options, read_opt_file
from options.registry import MODEL_REGISTRY
from options.schema import TestOptions
from options.test import parse_test
from util.errors import UserError
from util.io.state_dict import safe_load_state_dict


def load_run_options(folder: Path, *flags: str) -> TestOptions:
    """Return the options of test.py for the run in `folder`.

    Networks and data are configured as in training. If neither the run nor `flags` name a source of
    the first frames, it is --use_real_img.

    Args:
        folder: The run folder.
        flags: Further arguments of test.py.

    Raises:
        UserError: The folder has no opt.txt, or a flag is invalid or contradicts the run.
    """
    path = folder / "opt.txt"
    if not path.is_file():
        raise UserError(f"{path} does not exist: expected the folder of a run, checkpoints/NAME")
    flag_names = {flag.split("=")[0] for flag in flags}
    has_first_frame_source = read_opt_file(path).get("no_first_img") == "True" or any(
        f"--{flag}" in flag_names for flag in FIRST_FRAME_FLAGS
    )
    defaults = [] if has_first_frame_source else ["--use_real_img"]
    run_flags = ["--checkpoints_dir", str(folder.parent), "--name", folder.name]
    return parse_test([*defaults, *run_flags, *flags])


def load_label_predictor(folder: Path, label_nc: int, device: torch.device) -> LabelPredictor:
    """Load the network of --future_labels from its run folder.

    Args:
        folder: The run folder.
        label_nc: The number of labels that the network must predict.
        device: The device of the network.

    Raises:
        UserError: The folder is no run of a label predictor, or one for another number of labels.
    """
    flag = "--future_labels"
    options = load_training_options(folder, "future_labels", flag)
    if options.label_nc != label_nc:
        raise UserError(
            f"{flag} {folder} was trained with --label_nc {options.label_nc}, but the video run uses "
            f"{label_nc}: use a label predictor that was trained on the same labels"
        )
    networks = MODEL_REGISTRY[options.model].build_networks(options)
    ((name, network),) = networks.named_networks().items()
    path = get_weights_path(folder, "latest", name)
    load_network(network, safe_load_state_dict(path, flag), str(path))
    assert isinstance(network, LabelPredictor)
    return install_optimized_ops(network).to(device)
