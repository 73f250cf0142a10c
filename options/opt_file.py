"""Read a run's options from opt.txt: defaults of test.py, and checks of a resumed run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from options.parsing import OptionParser, parse_explicit_flags, stringify_options
from options.schema import TrainOptions
from options.train import build_train_parser, parse_train
from util.errors import UserError

# Flags that test.py takes from the run. Other values are refused, since the weights would not fit.
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
# Flags that a resumed run must not change, in addition to GENERATOR_FLAGS.
DISCRIMINATOR_FLAGS = (
    "ndf",
    "num_D",
    "n_layers_D",
    "n_frames_D",
    "n_scales_temporal",
    "add_face_disc",
    "no_ganFeat",
)
# Flags that test.py takes from the run unless its command line sets them.
DATA_FLAGS = (
    "dataroot",
    "loadSize",
    "fineSize",
    "no_canny_edge",
    "basic_point_only",
    "pose_people",
    "ignore_label",
)
FIRST_FRAME_FLAGS = ("no_first_img", "use_real_img", "use_single_G", "single_G")
# Flags that must be equal in a distilled run and its teacher.
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
RENAMED_FLAGS = {  # old name, which files of older runs contain: new name
    "allow_links": "allow_symlinks",
    "keep": "keep_last_epochs",
    "people": "pose_people",
}
MAX_OPT_FILE_BYTES = 2**20


def read_opt_file(path: Path) -> dict[str, str]:
    """Return the `flag: value` lines of an opt.txt as a dict; old flag names are replaced by new ones.

    Raises:
        UserError: The file is too large, cannot be read, or is not text.
    """
    try:
        if path.stat().st_size > MAX_OPT_FILE_BYTES:
            raise UserError(
                f"{path}: {path.stat().st_size} bytes; expected the options of a run: remove it"
            )
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); expected the options of a run: repair or remove it"
        ) from None
    stripped = [line.strip() for line in lines]
    return _rename_flags(dict(line.split(": ", 1) for line in stripped if ": " in line))


def _rename_flags(texts: Mapping[str, str]) -> dict[str, str]:
    return {RENAMED_FLAGS.get(flag, flag): text for flag, text in texts.items()}


def _select_restored_flags(texts: Mapping[str, str]) -> dict[str, str]:
    """Select the options of a run that its networks and data depend on."""
    flags = ("model", *GENERATOR_FLAGS, *DATA_FLAGS, "resize_or_crop", "no_first_img")
    return {flag: texts[flag] for flag in flags if flag in texts}


def load_run_arguments(parser: OptionParser, argv: Sequence[str]) -> list[str]:
    """Return the arguments that test.py takes from the opt.txt of its run.

    These are the options of the networks and, as defaults, those of the data. The list is empty for a
    run without opt.txt (published weights).

    Args:
        parser: The parser of test.py.
        argv: The command line, which names the run.

    Raises:
        UserError: A flag in `argv` contradicts the networks, or opt.txt is invalid.
    """
    flags = parse_explicit_flags(parser, argv)
    defaults = vars(parser.parse_args([]))
    checkpoints_dir = flags.get("checkpoints_dir", defaults["checkpoints_dir"])
    path = checkpoints_dir / flags.get("name", defaults["name"]) / "opt.txt"
    if not path.is_file():
        return []
    texts = _select_restored_flags(read_opt_file(path))
    if "resize_or_crop" in texts:
        texts["resize_or_crop"] = make_resize_deterministic(texts["resize_or_crop"])
    if any(flag in flags for flag in FIRST_FRAME_FLAGS):
        texts.pop("no_first_img", None)
    arguments = to_cli_arguments(parser, texts)
    if not flags.get("allow_partial"):
        _check_contradictions(parser, flags, arguments, path)
    return arguments


def make_resize_deterministic(resize_or_crop: str) -> str:
    """Return the --resize_or_crop mode for inference: without random scales and without crops."""
    scale = resize_or_crop.lower().split("_and_")[0].removeprefix("random")
    return "none" if "crop" in scale else scale


def to_cli_arguments(parser: OptionParser, texts: Mapping[str, str]) -> list[str]:
    """Convert options in the format of opt.txt to command-line arguments."""
    defaults = vars(parser.parse_args([]))
    arguments = []
    for flag, text in texts.items():
        if isinstance(defaults.get(flag), bool):
            if text != "False":
                arguments.append(f"--{flag}")
        elif text != "None":
            arguments.append(f"--{flag}={text}")
    return arguments


def _check_contradictions(
    parser: OptionParser, flags: Mapping[str, Any], arguments: Sequence[str], path: Path
) -> None:
    """Raise a UserError if explicit `flags` differ from the networks' options in `arguments`."""
    try:
        run = vars(parser.parse_args(arguments))
    except UserError as error:
        raise UserError(f"{path}: invalid option: {error}: repair or remove the file") from None
    for flag in GENERATOR_FLAGS:
        if flag in flags and _normalize_mode(flags[flag]) != _normalize_mode(run[flag]):
            raise UserError(
                f"--{flag} {flags[flag]} contradicts the run, which was trained with {run[flag]} "
                f"({path}): leave the flag out"
            )


def _normalize_mode(value: object) -> object:
    # As published: test.py calls the mode `temporal` `test`.
    return "temporal" if value == "test" else value


def load_training_options(folder: Path, model: str, flag: str) -> TrainOptions:
    """Load the options of a run's networks and data; all other options have their defaults.

    Args:
        folder: The run folder.
        model: The expected --model of the run.
        flag: The flag that names the folder, for error messages.

    Raises:
        UserError: The folder is not a run of this --model.
    """
    path = folder / "opt.txt"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: expected the folder of a run of --model {model} in {flag}, such "
            "as checkpoints/NAME"
        )
    texts = read_opt_file(path)
    run_model = texts.get("model")
    if run_model != model:
        raise UserError(
            f"{path} is of a run of --model {run_model}: {flag} needs one of --model {model}"
        )
    arguments = to_cli_arguments(build_train_parser(), _select_restored_flags(texts))
    return parse_train([*arguments, "--no_flip"])


def load_teacher_options(opt: TrainOptions) -> TrainOptions | None:
    """Load the options of the run in --distill_from; None without distillation.

    Raises:
        UserError: The teacher's condition, scales or first frames differ from those of this run.
    """
    if opt.distill_from is None or opt.model != "vid2vid":
        return None
    teacher = load_training_options(opt.distill_from, "vid2vid", "--distill_from")
    for flag in TEACHER_STUDENT_FLAGS:
        student_value, teacher_value = getattr(opt, flag), getattr(teacher, flag)
        if student_value != teacher_value:
            raise UserError(
                f"--{flag} {student_value} here, {teacher_value} in --distill_from "
                f"{opt.distill_from}: use the teacher's value"
            )
    return teacher


def describe_changed_options(saved: Mapping[str, str], opt: TrainOptions) -> list[str]:
    """Return a line for each option that a resumed run changes.

    Args:
        saved: The options in the checkpoint, as text.
        opt: The options of the resumed run.

    Raises:
        UserError: An option that the shapes of the networks depend on has changed.
    """
    saved = _rename_flags(saved)
    changes = {
        flag: f"--{flag} {text} now, {saved[flag]} in the saved run"
        for flag, text in stringify_options(opt).items()
        if flag in saved and saved[flag] != text and flag != "continue_train"
    }
    network_flags = (*GENERATOR_FLAGS, *DISCRIMINATOR_FLAGS)
    network_changes = [line for flag, line in changes.items() if flag in network_flags]
    if network_changes:
        raise UserError(
            f"{'; '.join(network_changes)}: this changes the networks: use the values of the saved "
            "run, or start a new run with --load_pretrain"
        )
    return [f"changed: {line}" for line in changes.values()]
