"""Checks of the options: ranges of single flags, and combinations of flags that are invalid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from pathlib import PurePath
from typing import NamedTuple

from options.schema import Options, TestOptions, TrainOptions, format_option_value
from util.errors import UserError

OptionsPredicate = Callable[[Options], bool]

# Smallest and largest value. The upper bounds catch typing errors that would exhaust the memory.
FLAG_RANGES: dict[str, tuple[float, float]] = {
    "batchSize": (1, 4096),
    "nThreads": (0, 1024),
    "max_dataset_size": (1, inf),
    "label_nc": (0, inf),
    "input_nc": (1, 1024),
    "loadSize": (32, 2**14),
    "fineSize": (32, 2**14),
    "ngf": (1, 4096),
    "ndf": (1, 4096),
    "n_blocks": (0, 1000),
    "n_downsample_G": (1, 8),
    "n_scales_spatial": (1, 8),
    "n_blocks_local": (0, 1000),
    "n_local_enhancers": (1, inf),
    "n_frames_G": (2, 128),
    "display_freq": (1, inf),
    "print_freq": (1, inf),
    "save_latest_freq": (1, inf),
    "save_epoch_freq": (1, inf),
    "niter": (0, 10**6),
    "niter_decay": (0, 10**6),
    "niter_step": (1, inf),
    "niter_fix_global": (0, inf),
    "lr": (0, 1),
    "beta1": (0, 0.999),
    "n_frames_total": (1, inf),
    "max_frames_per_gpu": (1, inf),
    "max_frames_backpropagate": (1, inf),
    "max_t_step": (1, inf),
    "clips_per_epoch": (1, 10**7),
    "num_D": (1, 16),
    "n_layers_D": (1, 16),
    "n_frames_D": (2, 128),
    "n_scales_temporal": (0, 8),
    "lambda_feat": (0, 1e6),
    "lambda_F": (0, 1e6),
    "lambda_T": (0, 1e6),
    "random_drop_prob": (0, 1),
    "how_many": (1, inf),
    "start_frame": (0, inf),
    "fps": (1, 1000),
    "display_winsize": (16, 2**14),
    "seed": (0, 2**31 - 1),
    "eval_freq": (0, inf),
    "eval_frames": (1, inf),
    "feat_num": (1, inf),
    "nef": (1, inf),
    "n_downsample_E": (1, inf),
    "keep_last_epochs": (1, inf),
    "ema": (1, inf),
    "grad_clip": (0, inf),
    "r1": (0, inf),
    "future_frames": (1, inf),
    "lambda_distill": (0, 1e6),
    "keyframes": (1, 128),
    "batch_sequences": (1, 256),
}


def mode_condition_channels(opt: Options) -> int | None:
    """Return the condition channels that --dataset_mode implies; None if --input_nc sets them."""
    if opt.dataset_mode == "face":
        return 1 if opt.no_dist_map else 15
    if opt.dataset_mode == "pose":
        return 3 if opt.densepose_only or opt.openpose_only else 6
    return None


def uses_flow_blending(opt: Options) -> bool:
    """Return whether the generated image is blended with the warped previous one."""
    # As published: --openpose_only implies --no_flow.
    return not (opt.no_flow or opt.openpose_only)


def is_single_image_training(opt: Options) -> bool:
    """Return whether train.py trains a single-image generator."""
    return isinstance(opt, TrainOptions) and opt.model == "single"


def is_label_prediction_training(opt: Options) -> bool:
    """Return whether train.py trains a label predictor."""
    return isinstance(opt, TrainOptions) and opt.model == "future_labels"


def is_auxiliary_training(opt: Options) -> bool:
    """Return whether train.py trains another network than the video generator."""
    return is_single_image_training(opt) or is_label_prediction_training(opt)


def uses_instance_features(opt: Options) -> bool:
    """Return whether the feature maps of an encoder are concatenated to the condition."""
    if is_single_image_training(opt):
        return opt.netG.endswith("with_features")
    return opt.label_feat and not is_label_prediction_training(opt)


def uses_single_image_network(opt: Options) -> bool:
    """Return whether test.py generates the first frames with a single-image network."""
    return (
        isinstance(opt, TestOptions)
        and (opt.use_single_G or opt.single_G is not None)
        and not (opt.no_first_img or opt.use_real_img)
    )


def when_training(predicate: Callable[[TrainOptions], bool]) -> OptionsPredicate:
    """Extend a predicate of train.py's options to all options: False for those of test.py."""
    return lambda opt: isinstance(opt, TrainOptions) and predicate(opt)


def when_testing(predicate: Callable[[TestOptions], bool]) -> OptionsPredicate:
    """Extend a predicate of test.py's options to all options: False for those of train.py."""
    return lambda opt: isinstance(opt, TestOptions) and predicate(opt)


class InvalidCombination(NamedTuple):
    """A combination of flags that is refused.

    Attributes:
        is_invalid: Whether the options contain the combination.
        message: The error message, a format string whose fields are flag names.
    """

    is_invalid: OptionsPredicate
    message: str


def _has_invalid_name(opt: Options) -> bool:
    return not opt.name or ".." in PurePath(opt.name).parts or PurePath(opt.name).is_absolute()


def _has_wrong_channels(opt: Options) -> bool:
    channels = mode_condition_channels(opt)
    return channels is not None and opt.input_nc != channels


def _has_invalid_foreground(opt: Options) -> bool:
    if not opt.fg:
        return False
    return not opt.fg_labels or max(opt.fg_labels) >= opt.label_nc or min(opt.fg_labels) < 0


def _has_indivisible_width(opt: Options) -> bool:
    """Return whether --ngf cannot be halved for each finer generator and for the foreground network."""
    if opt.ngf % 2 ** (opt.n_scales_spatial - 1) != 0:
        return True
    # As published: the foreground network has half the width if n_downsample_G > 2.
    is_foreground_halved = opt.fg and opt.n_downsample_G > 2
    return is_foreground_halved and opt.ngf % 2**opt.n_scales_spatial != 0


def _lacks_first_frame_source(opt: TestOptions) -> bool:
    return not (opt.no_first_img or opt.use_real_img or uses_single_image_network(opt))


def _uses_published_network(opt: Options, dataset_name: str | None) -> bool:
    """Return whether the first frames need the published network of `dataset_name`.

    The data set is recognized by City or face in --dataroot, as published; None stands for any other.
    """
    if not uses_single_image_network(opt) or opt.single_G is not None:
        return False
    names = [name for name in ("City", "face") if name in str(opt.dataroot)]
    return (names[0] if names else None) == dataset_name


def _has_invalid_output(opt: TestOptions) -> bool:
    if opt.output is None or opt.output == "-":
        return False
    return not opt.output.lower().endswith(".mp4")


def _has_invalid_label_edit(opt: TestOptions) -> bool:
    labels = [label for pair in opt.label_map_edit for label in pair]
    return any(not 0 <= label < opt.label_nc for label in labels)


def _split_gpu_ids(opt: Options) -> list[str]:
    return (opt.gpu_ids or "0").split(",")


# The first combination that applies is reported.
INVALID_COMBINATIONS = (
    InvalidCombination(
        _has_invalid_name,
        "--name {name}: expected a relative path without .., inside --checkpoints_dir",
    ),
    InvalidCombination(
        lambda opt: opt.output_nc != 3,
        "--output_nc {output_nc}: images have 3 channels (RGB): leave the flag out",
    ),
    InvalidCombination(
        when_testing(lambda opt: opt.model == "single"),
        "--model single is for train.py: pass the trained network to test.py with --single_G, for "
        "the first frames of a video run",
    ),
    InvalidCombination(
        when_testing(lambda opt: opt.model == "future_labels"),
        "--model future_labels is for train.py: pass the trained run to test.py with "
        "--future_labels, next to the flags of a video run",
    ),
    InvalidCombination(
        lambda opt: opt.model == "future_labels" and not opt.label_nc,
        "--model future_labels needs label maps: set their number of labels with --label_nc",
    ),
    InvalidCombination(
        when_testing(lambda opt: opt.future_labels is not None and not opt.label_nc),
        "--future_labels needs label maps, but this run uses --label_nc 0: leave it out",
    ),
    InvalidCombination(
        when_testing(lambda opt: opt.future_frames is not None and opt.future_labels is None),
        "--future_frames {future_frames} needs a label predictor: add --future_labels DIR",
    ),
    InvalidCombination(
        when_testing(lambda opt: opt.future_labels is not None and opt.input == "-"),
        "--future_labels starts from label maps, which --input - does not provide: leave one of them "
        "out",
    ),
    InvalidCombination(
        when_training(
            lambda opt: (
                opt.distill_from is not None and opt.label_feat and not is_auxiliary_training(opt)
            )
        ),
        "--distill_from does not support --label_feat: leave one of them out",
    ),
    InvalidCombination(
        lambda opt: opt.netG != "composite" and opt.model != "single",
        "--netG {netG} generates single images: use --netG composite for video, or add --model single",
    ),
    InvalidCombination(
        lambda opt: opt.netG == "composite" and opt.model == "single",
        "--model single needs a single-image network: use --netG global, local, global_with_features "
        "or local_with_features",
    ),
    InvalidCombination(
        lambda opt: uses_instance_features(opt) and not opt.label_nc and opt.dataset_mode != "face",
        "--label_feat and --netG ..._with_features encode the regions of label maps or faces: set "
        "--label_nc, or use --dataset_mode face",
    ),
    InvalidCombination(
        when_training(lambda opt: uses_instance_features(opt) and opt.eval_freq > 0),
        "--eval_freq compares with the real images, but a generator with features (--label_feat) may "
        "generate other appearances: leave --eval_freq out",
    ),
    InvalidCombination(
        lambda opt: opt.dataset_mode in ("face", "pose") and opt.label_nc > 0,
        "--label_nc {label_nc} cannot be combined with --dataset_mode {dataset_mode}, which has no "
        "label maps: leave --label_nc out",
    ),
    InvalidCombination(
        lambda opt: opt.densepose_only and opt.openpose_only,
        "--densepose_only and --openpose_only exclude each other: leave both out to use both inputs",
    ),
    InvalidCombination(
        _has_wrong_channels,
        "--input_nc {input_nc} does not match --dataset_mode {dataset_mode}: use --input_nc 15 for "
        "faces (1 with --no_dist_map), 6 for poses (3 with --densepose_only or --openpose_only)",
    ),
    InvalidCombination(
        lambda opt: (
            opt.dataset_mode in ("temporal", "test")
            and not opt.label_nc
            and opt.input_nc not in (1, 3)
        ),
        "--input_nc {input_nc}: a condition image has 3 channels (RGB) or 1 (gray); for label maps "
        "set --label_nc",
    ),
    InvalidCombination(
        lambda opt: opt.ignore_label is not None and 0 <= opt.ignore_label < opt.label_nc,
        "--ignore_label {ignore_label} is one of the labels 0 to N-1 of --label_nc {label_nc}: lower "
        "--label_nc, or leave --ignore_label out",
    ),
    InvalidCombination(
        lambda opt: opt.ignore_label is not None and opt.label_nc > 255,
        "--ignore_label needs an additional 8-bit id, found --label_nc {label_nc}: use 255 or less",
    ),
    InvalidCombination(
        lambda opt: opt.fg and not opt.label_nc,
        "--fg needs label maps: set --label_nc, or leave --fg out",
    ),
    InvalidCombination(
        _has_invalid_foreground,
        "--fg_labels {fg_labels}: expected labels 0 to N-1 of --label_nc {label_nc}",
    ),
    InvalidCombination(
        _has_indivisible_width,
        "--ngf {ngf} must be divisible by 2 for each of the --n_scales_spatial {n_scales_spatial} "
        "generators after the first (with --fg once more): use a multiple of a higher power of two",
    ),
    InvalidCombination(
        lambda opt: opt.add_face_disc and opt.dataset_mode != "pose",
        "--add_face_disc locates faces in pose maps: expected --dataset_mode pose, found "
        "{dataset_mode}: leave it out",
    ),
    InvalidCombination(
        when_testing(_lacks_first_frame_source),
        "test.py needs a source of the first frames: use --use_real_img (real images of the data "
        "set), --no_first_img (if the run was trained with it) or --use_single_G (a published "
        "single-image network; with --single_G PATH, one of yours)",
    ),
    InvalidCombination(
        lambda opt: _uses_published_network(opt, None),
        "--use_single_G: there are published networks only for a --dataroot that contains City or "
        "face, found {dataroot}: pass your own network with --single_G PATH",
    ),
    InvalidCombination(
        lambda opt: (
            _uses_published_network(opt, "City")
            and (opt.loadSize not in (512, 1024, 2048) or opt.label_nc != 35)
        ),
        "--use_single_G: the published street networks need --label_nc 35 and --loadSize 512, 1024 or "
        "2048, found {label_nc} and {loadSize}: pass your own network with --single_G PATH",
    ),
    InvalidCombination(
        lambda opt: (
            _uses_published_network(opt, "face")
            and (opt.dataset_mode != "face" or opt.input_nc != 15)
        ),
        "--use_single_G: the published face network needs --dataset_mode face and --input_nc 15, "
        "found {dataset_mode} and {input_nc}: pass your own network with --single_G PATH",
    ),
    InvalidCombination(
        when_testing(lambda opt: opt.input == "-" and opt.input_size is None),
        "--input - reads raw frames of unknown size: add --input_size WxH",
    ),
    InvalidCombination(
        when_testing(_has_invalid_output),
        "--output {output}: expected FILE.mp4, or - for raw frames on standard output",
    ),
    InvalidCombination(
        when_testing(
            lambda opt: opt.batch_sequences > 1 and opt.output is not None and opt.input is None
        ),
        "--batch_sequences {batch_sequences} generates sequences in parallel, but --output {output} "
        "is written one sequence after the other: leave one of them out",
    ),
    InvalidCombination(
        when_testing(_has_invalid_label_edit),
        "--label_map_edit {label_map_edit}: expected labels 0 to N-1 of --label_nc {label_nc}",
    ),
    InvalidCombination(
        when_training(lambda opt: opt.niter + opt.niter_decay < 1),
        "--niter {niter} and --niter_decay {niter_decay} add up to no epoch: set one of them to 1 or "
        "more",
    ),
    InvalidCombination(
        when_training(lambda opt: opt.continue_train and opt.which_epoch != "latest"),
        "--continue_train resumes from the latest checkpoint only, found --which_epoch {which_epoch}: "
        "to start a new run from these weights use --load_pretrain DIR --which_epoch {which_epoch}",
    ),
    InvalidCombination(
        lambda opt: opt.fp16 and opt.amp == "bf16",
        "--fp16 means --amp fp16 and contradicts --amp {amp}: leave one of them out",
    ),
    InvalidCombination(
        when_training(lambda opt: opt.sync_bn and opt.norm != "batch"),
        "--sync_bn needs --norm batch, found --norm {norm}: leave --sync_bn out",
    ),
    InvalidCombination(
        when_training(lambda opt: opt.compile and opt.sync_bn),
        "--compile cannot be combined with --sync_bn (collective ops inside the compiled graph): leave "
        "one of them out",
    ),
    InvalidCombination(
        when_training(lambda opt: opt.compile and opt.checkpoint_activations),
        "--compile cannot be combined with --checkpoint_activations (the compiler decides what the "
        "backward pass recomputes): leave one of them out",
    ),
    InvalidCombination(
        lambda opt: opt.n_gpus_gen != -1 and not 1 <= opt.n_gpus_gen <= len(_split_gpu_ids(opt)),
        "--n_gpus_gen {n_gpus_gen} does not match --gpu_ids {gpu_ids}: use 1 up to the number of GPUs, "
        "or -1 for all",
    ),
)


def list_out_of_range(opt: Options) -> Iterator[str]:
    """Yield an error message for each option outside of its range in FLAG_RANGES; NaN is outside."""
    for flag, (lowest, highest) in FLAG_RANGES.items():
        value = getattr(opt, flag, None)
        if value is None:
            continue
        if not value >= lowest:
            yield f"--{flag} {value}: expected at least {lowest}"
        elif not value <= highest:
            yield f"--{flag} {value}: expected at most {highest}"


def validate_options(opt: Options) -> None:
    """Raise a UserError that names the flags if the options contain an invalid value or combination."""
    for message in list_out_of_range(opt):
        raise UserError(message)
    values = {flag: format_option_value(value) for flag, value in vars(opt).items()}
    values["gpu_ids"] = ",".join(_split_gpu_ids(opt))
    for combination in INVALID_COMBINATIONS:
        if combination.is_invalid(opt):
            raise UserError(combination.message.format(**values))
