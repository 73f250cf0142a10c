"""A run's own options (`opt.txt`): what test.py takes over from them, and what a resumed run may not change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from options.parsing import OptionParser, Options, parse_explicit_flags, stringify_options
from options.train import build_train_parser, parse_train
from util.errors import UserError

GENERATOR_FLAGS = (
    "label_nc",
    "input_nc",
    "output_nc",
    "dataset_mode",
    "use_instance",
    "netG",
    "ngf",
    "n_blocks",
    "n_downsample_G",
    "n_scales_spatial",
    "n_blocks_local",
    "norm",
    "n_frames_G",
    "no_flow",
    "fg",
    "fg_labels",
    "no_dist_map",
    "densepose_only",
    "openpose_only",
    "label_feat",
    "feat_num",
)
DISCRIMINATOR_FLAGS = (
    "ndf",
    "num_D",
    "n_layers_D",
    "n_frames_D",
    "n_scales_temporal",
    "add_face_disc",
    "no_ganFeat",
)
DATA_FLAGS = (
    "dataroot",
    "loadSize",
    "fineSize",
    "no_canny_edge",
    "basic_point_only",
    "people",
    "ignore_label",
)
FIRST_FRAME_FLAGS = ("no_first_img", "use_real_img", "use_single_G", "single_G")
TEACHER_STUDENT_FLAGS = (
    "label_nc",
    "input_nc",
    "dataset_mode",
    "use_instance",
    "n_frames_G",
    "n_scales_spatial",
    "no_first_img",
    "no_dist_map",
    "densepose_only",
    "openpose_only",
    "label_feat",
)
MAX_OPT_FILE_BYTES = 2**20  # bytes of an opt.txt


def read_opt_file(path: Path) -> dict[str, str]:
    """The `key: value` lines of an opt.txt. UserError for a file that has none."""
    try:
        if path.stat().st_size > MAX_OPT_FILE_BYTES:
            raise UserError(
                f"{path}: {path.stat().st_size} bytes; expected the options of a run: remove it"
            )
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(
            f"{path}: cannot be read ({fault}); expected the options of a run: mend or remove it"
        ) from None
    return dict(line.split(": ", 1) for line in map(str.strip, lines) if ": " in line)


def load_run_arguments(parser: OptionParser, argv: Sequence[str]) -> list[str]:
    """What test.py's command line lacks of its run's: the networks' options, and of the data's those not given.

    [] for a run without opt.txt (published weights). UserError names a given flag that contradicts the networks.
    """
    flags = parse_explicit_flags(parser, argv)
    defaults = vars(parser.parse_args([]))
    path = (
        flags.get("checkpoints_dir", defaults["checkpoints_dir"])
        / flags.get("name", defaults["name"])
        / "opt.txt"
    )
    if not path.is_file():
        return []
    saved = read_opt_file(path)
    taken = [
        key
        for key in ("model", *GENERATOR_FLAGS, *DATA_FLAGS, "resize_or_crop", "no_first_img")
        if key in saved
    ]
    given_first = any(key in flags for key in FIRST_FRAME_FLAGS)
    arguments = to_cli_arguments(
        parser,
        {
            key: make_resize_deterministic(saved[key]) if key == "resize_or_crop" else saved[key]
            for key in taken
            if not (key == "no_first_img" and given_first)
        },
    )
    if not flags.get("allow_partial"):
        _check_contradictions(parser, flags, arguments, path)
    return arguments


def make_resize_deterministic(resize_or_crop: str) -> str:
    """Training's random sizes and crops are not test's."""
    scale = resize_or_crop.lower().split("_and_")[0].removeprefix("random")
    return "none" if "crop" in scale else scale


def to_cli_arguments(parser: OptionParser, texts: Mapping[str, str]) -> list[str]:
    """`key: value` texts as a command line would give them."""
    switches = {
        key for key, default in vars(parser.parse_args([])).items() if isinstance(default, bool)
    }
    return [
        f"--{key}" if key in switches else f"--{key}={text}"
        for key, text in texts.items()
        if text != ("False" if key in switches else "None")
    ]


def _check_contradictions(
    parser: OptionParser, flags: Mapping[str, Any], arguments: Sequence[str], path: Path
) -> None:
    try:
        run = vars(parser.parse_args(arguments))
    except UserError as fault:
        raise UserError(
            f"{path} holds what this program does not take: {fault}: mend or remove the file"
        ) from None
    for key in GENERATOR_FLAGS:
        if key in flags and _normalize_mode(flags[key]) != _normalize_mode(run[key]):
            raise UserError(
                f"--{key} {flags[key]} contradicts the run, which was trained with {run[key]} ({path}): "
                "leave the flag out"
            )


def _normalize_mode(value: object) -> object:
    return "temporal" if value == "test" else value


def load_training_options(folder: Path, model: str, flag: str) -> Options:
    """What a run in `folder` was trained with, as far as its networks and data go. UserError, naming `flag`: it is no
    run of this --model."""
    path, parser = folder / "opt.txt", build_train_parser()
    if not path.is_file():
        raise UserError(
            f"{path} is not there: give {flag} the folder of a run of --model {model}, checkpoints/NAME"
        )
    texts = read_opt_file(path)
    if (found := texts.get("model")) != model:
        raise UserError(
            f"{path} is of a run of --model {found}: {flag} needs one of --model {model}"
        )
    taken = {
        key: texts[key]
        for key in ("model", *GENERATOR_FLAGS, *DATA_FLAGS, "resize_or_crop", "no_first_img")
        if key in texts
    }
    return parse_train([*to_cli_arguments(parser, taken), "--no_flip"])


def load_teacher_options(opt: Options) -> Options | None:
    """Of the run that `--distill_from` names. UserError: what it sees or how it begins is not what this run's does."""
    if opt.distill_from is None or opt.model != "vid2vid":
        return None
    teacher = load_training_options(opt.distill_from, "vid2vid", "--distill_from")
    for key in TEACHER_STUDENT_FLAGS:
        own, other = getattr(opt, key), getattr(teacher, key)
        if own != other:
            raise UserError(
                f"--{key} {own} here, {other} in --distill_from {opt.distill_from}: a teacher sees and "
                "begins as its student does, give both the same"
            )
    return teacher


def describe_changed_options(saved: Mapping[str, str], opt: Options) -> list[str]:
    """What a resumed run's options change, a line each. UserError names those that would change its networks."""
    now = stringify_options(opt)
    changed = {
        key: f"--{key} {text} now, {saved[key]} in the saved run"
        for key, text in now.items()
        if key in saved and saved[key] != text and key != "continue_train"
    }
    if networks := [
        line for key, line in changed.items() if key in (*GENERATOR_FLAGS, *DISCRIMINATOR_FLAGS)
    ]:
        raise UserError(
            f"{'; '.join(networks)}: that makes other networks: give the saved run's values, or begin a "
            "new run with --load_pretrain"
        )
    return [f"changed: {line}" for line in changed.values()]
