"""A trained run by its folder alone: what it was trained with stands in its opt.txt."""

from __future__ import annotations

from pathlib import Path

from models.first_frame import choose_first_pictures
from models.generators import build_generator
from models.saving import load_generator
from models.synthesizer import Synthesizer
from options import configs
from options.parsing import Options
from options.stored import FIRST_PICTURES, read_texts
from options.test import parse_test
from util.errors import UserError
from util.placement import place


def run_options(folder: Path, *flags: str) -> Options:
    """The options of test.py for a run in `folder`, those of its networks and data as it was trained. flags: others."""
    path = folder / "opt.txt"
    if not path.is_file():
        raise UserError(f"{path} is not there: give the folder of a run, checkpoints/NAME")
    begins = read_texts(path).get("no_first_img") == "True" or any(f"--{key}" in flags for key in FIRST_PICTURES)
    first = [] if begins else ["--use_real_img"]
    return parse_test([*first, "--checkpoints_dir", str(folder.parent), "--name", folder.name, *flags])


def load_synthesizer(options: Options) -> Synthesizer:
    """The trained networks, ready to step. UserError: their weights are not there, or another network's."""
    networks = build_generator(configs.generator(options))
    load_generator(networks, configs.run_folder(options), options.which_epoch)
    first, _ = choose_first_pictures(configs.first_frame(options))
    return Synthesizer(networks, configs.synthesis(options), first, place(configs.placement(options)).device)
