"""A trained run by its folder alone: what it was trained with stands in its opt.txt."""

from __future__ import annotations

from pathlib import Path

from models.first_frame import choose_first_pictures
from models.generators import build_generator
from models.saving import load_generator
from models.synthesizer import Synthesizer
from options import configs
from options.parsing import Options, saved_flags
from options.test import parse_test, synthesis_parser
from util.errors import UserError
from util.placement import place

OWN = ("phase", "which_epoch", "gpu_ids", "checkpoints_dir", "name", "load_pretrain")  # of the training, not of the run

FIRST_PICTURES = {"--no_first_img", "--single_G", "--use_single_G"}


def run_options(folder: Path, *flags: str) -> Options:
    """The options of test.py for a run in `folder`. flags: as on its command line, in place of what training had."""
    path = folder / "opt.txt"
    if not path.is_file():
        raise UserError(f"{path} is not there: give the folder of a run, checkpoints/NAME")
    text = "".join(line + "\n" for line in path.read_text().splitlines() if line.split(":")[0] not in OWN)
    saved = saved_flags(text, synthesis_parser())
    begin = [] if FIRST_PICTURES & {*saved, *flags} else ["--use_real_img"]
    return parse_test([*saved, *begin, "--checkpoints_dir", str(folder.parent), "--name", folder.name, *flags])


def load_synthesizer(options: Options) -> Synthesizer:
    """The trained networks, ready to step. UserError: their weights are not there, or another network's."""
    networks = build_generator(configs.generator(options))
    load_generator(networks, configs.run_folder(options), options.which_epoch)
    first, _ = choose_first_pictures(configs.first_frame(options))
    return Synthesizer(networks, configs.synthesis(options), first, place(options.gpu_ids).device)
