"""Every rule between flags, as data: what is refused, and what a run accepts but does not use."""

from __future__ import annotations

import argparse
import operator
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

from util.errors import UserError

_ParsedOptions = Any  # a namespace of all flags, those of train.py or of test.py
_Predicate = Callable[[_ParsedOptions], bool]

MIN_VALUES = {
    "batchSize": 1,
    "nThreads": 0,
    "max_dataset_size": 1,
    "label_nc": 0,
    "input_nc": 1,
    "loadSize": 32,
    "fineSize": 32,
    "ngf": 1,
    "ndf": 1,
    "n_blocks": 0,
    "n_downsample_G": 1,
    "n_scales_spatial": 1,
    "n_blocks_local": 0,
    "n_local_enhancers": 1,
    "n_frames_G": 2,
    "display_freq": 1,
    "print_freq": 1,
    "save_latest_freq": 1,
    "save_epoch_freq": 1,
    "niter": 0,
    "niter_decay": 0,
    "niter_step": 1,
    "niter_fix_global": 0,
    "lr": 0,
    "beta1": 0,
    "n_frames_total": 1,
    "max_frames_per_gpu": 1,
    "max_frames_backpropagate": 1,
    "max_t_step": 1,
    "clips_per_epoch": 1,
    "num_D": 1,
    "n_layers_D": 1,
    "n_frames_D": 2,
    "n_scales_temporal": 0,
    "lambda_feat": 0,
    "lambda_F": 0,
    "lambda_T": 0,
    "random_drop_prob": 0,
    "how_many": 1,
    "start_frame": 0,
    "fps": 1,
    "display_winsize": 16,
    "seed": 0,
    "eval_freq": 0,
    "eval_frames": 1,
    "feat_num": 1,
    "nef": 1,
    "n_downsample_E": 1,
    "keep": 1,
    "ema": 1,
    "grad_clip": 0,
    "r1": 0,
    "future_frames": 1,
    "lambda_distill": 0,
    "keyframes": 1,
    "batch_sequences": 1,
}
MAX_VALUES = {  # beyond these lies a slip of the keyboard, which would fill the memory
    "random_drop_prob": 1,
    "beta1": 0.999,
    "seed": 2**31 - 1,
    "lr": 1,
    "lambda_feat": 1e6,
    "lambda_F": 1e6,
    "lambda_T": 1e6,
    "fps": 1000,
    "ngf": 4096,
    "ndf": 4096,
    "n_blocks": 1000,
    "n_downsample_G": 8,
    "n_scales_spatial": 8,
    "n_blocks_local": 1000,
    "n_frames_G": 128,
    "n_frames_D": 128,
    "n_layers_D": 16,
    "num_D": 16,
    "n_scales_temporal": 8,
    "loadSize": 2**14,
    "fineSize": 2**14,
    "batchSize": 4096,
    "nThreads": 1024,
    "input_nc": 1024,
    "clips_per_epoch": 10**7,
    "display_winsize": 2**14,
    "niter": 10**6,
    "niter_decay": 10**6,
    "lambda_distill": 1e6,
    "keyframes": 128,
    "batch_sequences": 256,
}


def mode_condition_channels(opt: _ParsedOptions) -> int | None:
    """Channels that the mode's condition has; None where --input_nc says."""
    if opt.dataset_mode == "face":
        return 1 if opt.no_dist_map else 15
    if opt.dataset_mode == "pose":
        return 3 if opt.densepose_only or opt.openpose_only else 6
    return None


def uses_flow_blending(opt: _ParsedOptions) -> bool:
    """Whether images are composed with the warped previous one; OpenPose alone moves too little for that."""
    return not (opt.no_flow or opt.openpose_only)


def is_train(opt: _ParsedOptions) -> bool:
    return hasattr(opt, "niter")


def is_single_image_training(opt: _ParsedOptions) -> bool:
    return is_train(opt) and opt.model == "single"


def is_label_prediction_training(opt: _ParsedOptions) -> bool:
    return is_train(opt) and opt.model == "future_labels"


def is_auxiliary_training(opt: _ParsedOptions) -> bool:
    """Whether the run trains a network that the video's needs, not that one itself."""
    return is_single_image_training(opt) or is_label_prediction_training(opt)


def uses_instance_features(opt: _ParsedOptions) -> bool:
    """Whether feature maps, which an encoder learns, join the condition."""
    if is_single_image_training(opt):
        return opt.netG.endswith("with_features")
    return opt.label_feat and not is_label_prediction_training(opt)


class InvalidCombination(NamedTuple):
    is_invalid: _Predicate
    message: str  # formatted with the options


class IgnoredFlag(NamedTuple):
    flag: str
    is_ignored: _Predicate
    reason: str


def _has_wrong_channels(opt: _ParsedOptions) -> bool:
    channels = mode_condition_channels(opt)
    return channels is not None and opt.input_nc != channels


def _lacks_first_frame_source(opt: _ParsedOptions) -> bool:
    return not is_train(opt) and not (
        opt.no_first_img or opt.use_real_img or uses_single_image_network(opt)
    )


def uses_single_image_network(opt: _ParsedOptions) -> bool:
    """Whether a single-image network paints the first images, where nothing comes before it."""
    return (opt.use_single_G or opt.single_G is not None) and not (
        is_train(opt) or opt.no_first_img or opt.use_real_img
    )


def _uses_published_network(opt: _ParsedOptions, dataset_name: str | None) -> bool:
    """Whether the run asks for the published single-image network of this data (None: of neither)."""
    known = next((name for name in ("City", "face") if name in str(opt.dataroot)), None)
    return uses_single_image_network(opt) and opt.single_G is None and known == dataset_name


def _split_gpu_ids(opt: _ParsedOptions) -> list[str]:
    return (opt.gpu_ids or "0").split(",")


def _has_invalid_name(opt: _ParsedOptions) -> bool:
    return not opt.name or ".." in PurePath(opt.name).parts or PurePath(opt.name).is_absolute()


INVALID_COMBINATIONS = (
    InvalidCombination(
        _has_invalid_name, "--name {name}: expected the name of a folder inside --checkpoints_dir"
    ),
    InvalidCombination(
        lambda o: o.output_nc != 3,
        "--output_nc {output_nc}: images have 3 channels (RGB); leave the flag out",
    ),
    InvalidCombination(
        lambda o: o.model == "single" and not is_train(o),
        "--model single is trained with train.py; test.py makes "
        "videos: give it that network with --single_G, to paint the first images",
    ),
    InvalidCombination(
        lambda o: o.model == "future_labels" and not is_train(o),
        "--model future_labels is trained with train.py; "
        "test.py makes videos: give it that run with --future_labels, to go on after the given label maps",
    ),
    InvalidCombination(
        lambda o: o.model == "future_labels" and not o.label_nc,
        "--model future_labels predicts label maps: give their number of labels with --label_nc",
    ),
    InvalidCombination(
        lambda o: not is_train(o) and o.future_labels is not None and not o.label_nc,
        "--future_labels predicts label maps, and this run's condition is none (--label_nc 0): leave it out",
    ),
    InvalidCombination(
        lambda o: not is_train(o) and o.future_frames is not None and o.future_labels is None,
        "--future_frames {future_frames} needs the run that predicts them: give --future_labels DIR",
    ),
    InvalidCombination(
        lambda o: not is_train(o) and o.future_labels is not None and o.input == "-",
        "--future_labels goes on from label maps, which --input - does not give: leave one of them out",
    ),
    InvalidCombination(
        lambda o: (
            is_train(o)
            and o.distill_from is not None
            and o.label_feat
            and not is_auxiliary_training(o)
        ),
        "--distill_from: a teacher's images do not tell which look they have, so --label_feat cannot be taught: "
        "leave one of them out",
    ),
    InvalidCombination(
        lambda o: o.netG != "composite" and o.model != "single",
        "--netG {netG} is no video network: --netG composite is (others paint single images: --model single)",
    ),
    InvalidCombination(
        lambda o: o.netG == "composite" and o.model == "single",
        "--model single needs a single-image network: "
        "give --netG global, local, global_with_features or local_with_features",
    ),
    InvalidCombination(
        lambda o: uses_instance_features(o) and not o.label_nc and o.dataset_mode != "face",
        "--label_feat, and --netG ..._with_features, encode how regions look: they need label maps (--label_nc) or "
        "faces (--dataset_mode face)",
    ),
    InvalidCombination(
        lambda o: is_train(o) and uses_instance_features(o) and o.eval_freq > 0,
        "--eval_freq compares with the real images, "
        "from which a network with features (--label_feat) is free to differ: leave it out",
    ),
    InvalidCombination(
        lambda o: o.dataset_mode in ("face", "pose") and o.label_nc > 0,
        "--label_nc {label_nc} and --dataset_mode {dataset_mode} exclude each other: only label maps have labels",
    ),
    InvalidCombination(
        lambda o: o.densepose_only and o.openpose_only,
        "--densepose_only and --openpose_only exclude each other: leave out both to use both",
    ),
    InvalidCombination(
        _has_wrong_channels,
        "--input_nc {input_nc} does not fit --dataset_mode {dataset_mode}: give --input_nc 15 for "
        "faces (1 with --no_dist_map), 6 for poses (3 with --densepose_only or --openpose_only)",
    ),
    InvalidCombination(
        lambda o: (
            o.dataset_mode in ("temporal", "test") and not o.label_nc and o.input_nc not in (1, 3)
        ),
        "--input_nc {input_nc}: conditions that are images have 3 channels (RGB) or 1 (grey); label maps need "
        "--label_nc",
    ),
    InvalidCombination(
        lambda o: o.ignore_label is not None and 0 <= o.ignore_label < o.label_nc,
        "--ignore_label {ignore_label} is one of the labels 0 to N-1 of --label_nc {label_nc}: lower that, or "
        "leave the flag out",
    ),
    InvalidCombination(
        lambda o: o.ignore_label is not None and o.label_nc > 255,
        "--ignore_label needs room in 8 bits: --label_nc {label_nc} must be 255 or less",
    ),
    InvalidCombination(
        lambda o: o.fg and not o.label_nc,
        "--fg needs label maps: give --label_nc, or leave out --fg",
    ),
    InvalidCombination(
        lambda o: (
            o.fg and (not o.fg_labels or max(o.fg_labels) >= o.label_nc or min(o.fg_labels) < 0)
        ),
        "--fg_labels {fg_labels} are not all labels 0 to N-1 of --label_nc {label_nc}",
    ),
    InvalidCombination(
        lambda o: (
            o.ngf % 2 ** (o.n_scales_spatial - 1) != 0
            or (o.fg and o.n_downsample_G > 2 and o.ngf % 2**o.n_scales_spatial != 0)
        ),
        "--ngf {ngf} cannot be halved for each of --n_scales_spatial {n_scales_spatial} networks (with --fg once "
        "more): give a multiple of a higher power of two",
    ),
    InvalidCombination(
        lambda o: o.add_face_disc and o.dataset_mode != "pose",
        "--add_face_disc finds faces in pose maps: it needs --dataset_mode pose, found {dataset_mode}",
    ),
    InvalidCombination(
        _lacks_first_frame_source,
        "test.py does not know where the first images come from: give --use_real_img (real ones "
        "from the data), --no_first_img (the network was trained to begin by itself) or --use_single_G (a "
        "single-image network paints them; your own: --single_G PATH)",
    ),
    InvalidCombination(
        lambda o: _uses_published_network(o, None),
        "--use_single_G knows published networks for a --dataroot with City or face "
        "in it, found {dataroot}: give your own with --single_G PATH",
    ),
    InvalidCombination(
        lambda o: (
            _uses_published_network(o, "City")
            and (o.loadSize not in (512, 1024, 2048) or o.label_nc != 35)
        ),
        "--use_single_G: the published street networks are for --label_nc 35 and --loadSize 512, 1024 or 2048, "
        "found {label_nc} and {loadSize}: give your own with --single_G PATH",
    ),
    InvalidCombination(
        lambda o: (
            _uses_published_network(o, "face") and (o.dataset_mode != "face" or o.input_nc != 15)
        ),
        "--use_single_G: the published face network is for --dataset_mode face and --input_nc 15, found "
        "{dataset_mode} and {input_nc}: give your own with --single_G PATH",
    ),
    InvalidCombination(
        lambda o: not is_train(o) and o.input == "-" and o.input_size is None,
        "--input - reads raw frames: give their --input_size WxH",
    ),
    InvalidCombination(
        lambda o: (
            not is_train(o)
            and o.output not in (None, "-")
            and not o.output.lower().endswith(".mp4")
        ),
        "--output {output}: expected a FILE.mp4, or - for raw frames on standard output",
    ),
    InvalidCombination(
        lambda o: (
            not is_train(o) and o.batch_sequences > 1 and o.output is not None and o.input is None
        ),
        "--batch_sequences {batch_sequences} paints sequences side by side, and --output {output} is a video of "
        "one after the other: leave one of them out",
    ),
    InvalidCombination(
        lambda o: (
            not is_train(o)
            and any(not 0 <= n < o.label_nc for edit in o.label_map_edit for n in edit)
        ),
        "--label_map_edit {label_map_edit}: expected labels 0 to N-1 of --label_nc {label_nc}",
    ),
    InvalidCombination(
        lambda o: is_train(o) and o.niter + o.niter_decay < 1,
        "--niter {niter} and --niter_decay {niter_decay} make no epoch: give one of them at least 1",
    ),
    InvalidCombination(
        lambda o: is_train(o) and o.continue_train and o.which_epoch != "latest",
        "--continue_train goes on from the latest saved state only, found --which_epoch {which_epoch}: to start "
        "anew from an epoch's weights give --load_pretrain DIR --which_epoch {which_epoch}",
    ),
    InvalidCombination(
        lambda o: o.fp16 and o.amp == "bf16",
        "--fp16 is --amp fp16, found --amp {amp} beside it: give one",
    ),
    InvalidCombination(
        lambda o: is_train(o) and o.sync_bn and o.norm != "batch",
        "--sync_bn shares the statistics of batch norms, found --norm {norm}: leave it out",
    ),
    InvalidCombination(
        lambda o: is_train(o) and o.compile and o.sync_bn,
        "--compile makes programs of one process, and --sync_bn "
        "has processes talk inside the networks: leave one of them out",
    ),
    InvalidCombination(
        lambda o: is_train(o) and o.compile and o.checkpoint_activations,
        "--compile chooses what is computed "
        "again on the way back, and so does --checkpoint_activations: leave one of them out",
    ),
    InvalidCombination(
        lambda o: o.n_gpus_gen != -1 and not 1 <= o.n_gpus_gen <= len(_split_gpu_ids(o)),
        "--n_gpus_gen {n_gpus_gen} does not fit --gpu_ids {gpu_ids}: give 1 up to their number, or -1 for all",
    ),
)


def _is_mode_outside(*modes: str) -> _Predicate:
    return lambda o: o.dataset_mode not in modes


def _is_always_ignored(_: _ParsedOptions) -> bool:
    return True


IGNORED_FLAGS = (
    *(
        IgnoredFlag(flag, _is_always_ignored, "accepted for old scripts, without effect")
        for flag in ("pool_size", "aspect_ratio", "ntest", "display_id", "local_rank")
    ),
    IgnoredFlag("ignore_label", lambda o: not o.label_nc, "only label maps have labels"),
    IgnoredFlag(
        "feat_num",
        lambda o: not uses_instance_features(o),
        "it needs --label_feat, or --netG ..._with_features",
    ),
    *(
        IgnoredFlag(
            flag,
            lambda o: not (is_train(o) and uses_instance_features(o)),
            "it is of the encoder, which only training with "
            "--label_feat or --netG ..._with_features needs",
        )
        for flag in ("nef", "n_downsample_E")
    ),
    IgnoredFlag(
        "load_features",
        lambda o: is_train(o) or not uses_instance_features(o),
        "it is for test.py --label_feat",
    ),
    IgnoredFlag("label_feat", is_single_image_training, "--netG says whether features join"),
    IgnoredFlag(
        "n_local_enhancers",
        lambda o: not (is_single_image_training(o) and o.netG.startswith("local")),
        "only training a local single-image network needs it; the file of a trained one says it",
    ),
    *(
        IgnoredFlag(
            flag, is_single_image_training, "a single-image network knows one frame and no motion"
        )
        for flag in (
            "n_frames_G",
            "n_frames_total",
            "n_frames_D",
            "n_scales_temporal",
            "n_scales_spatial",
            "max_frames_per_gpu",
            "max_frames_backpropagate",
            "max_t_step",
            "niter_step",
            "niter_fix_global",
            "lambda_T",
            "lambda_F",
            "no_flow",
            "no_first_img",
            "fg",
            "sparse_D",
            "flow_net",
            "flow_cache",
            "eval_freq",
            "add_face_disc",
            "n_gpus_gen",
            "ema",
            "checkpoint_activations",
        )
    ),
    *(
        IgnoredFlag(
            flag,
            is_label_prediction_training,
            "a label predictor learns from label maps, and nobody judges it",
        )
        for flag in (
            "use_instance",
            "label_feat",
            "no_first_img",
            "n_scales_spatial",
            "niter_fix_global",
            "no_flow",
            "fg",
            "ndf",
            "num_D",
            "n_layers_D",
            "n_frames_D",
            "n_scales_temporal",
            "sparse_D",
            "gan_mode",
            "no_ganFeat",
            "lambda_feat",
            "lambda_F",
            "no_vgg",
            "vgg_weights",
            "flow_net",
            "flow_cache",
            "n_gpus_gen",
            "ema",
            "checkpoint_activations",
            "r1",
            "spectral_norm",
        )
    ),
    IgnoredFlag("distill_from", is_auxiliary_training, "only a video network can be taught"),
    IgnoredFlag(
        "lambda_distill",
        lambda o: is_train(o) and o.distill_from is None,
        "it needs --distill_from",
    ),
    IgnoredFlag(
        "n_gpus_gen", lambda o: not is_train(o), "synthesis runs on the first device of --gpu_ids"
    ),
    IgnoredFlag(
        "n_gpus_gen",
        lambda o: is_train(o) and o.batchSize > 1,
        "with --batchSize above 1 the devices share the clips of a batch, and each does both",
    ),
    IgnoredFlag(
        "input_nc", lambda o: o.label_nc > 0, "the condition has --label_nc one-hot channels"
    ),
    IgnoredFlag(
        "use_instance", _is_mode_outside("temporal", "test"), "only street data has instance maps"
    ),
    *(
        IgnoredFlag(flag, _is_mode_outside("face"), "only faces have it")
        for flag in ("no_canny_edge", "no_dist_map", "random_scale_points")
    ),
    *(
        IgnoredFlag(flag, _is_mode_outside("pose"), "only poses have it")
        for flag in (
            "densepose_only",
            "openpose_only",
            "remove_face_labels",
            "random_drop_prob",
            "basic_point_only",
            "people",
        )
    ),
    IgnoredFlag("random_scale_points", is_train, "it changes faces in test only"),
    *(
        IgnoredFlag(flag, is_train, "training takes the first images from the data")
        for flag in ("use_single_G", "single_G")
    ),
    *(
        IgnoredFlag(
            flag,
            lambda o: not is_train(o) and (o.no_first_img or o.use_real_img),
            "--no_first_img or --use_real_img comes first",
        )
        for flag in ("use_single_G", "single_G")
    ),
    IgnoredFlag("use_single_G", lambda o: o.single_G is not None, "--single_G says which network"),
    IgnoredFlag("use_real_img", lambda o: o.no_first_img, "--no_first_img comes first"),
    IgnoredFlag("fg_labels", lambda o: not o.fg, "it needs --fg"),
    IgnoredFlag("niter_fix_global", lambda o: o.n_scales_spatial == 1, "there is only one network"),
    IgnoredFlag(
        "n_blocks_local",
        lambda o: o.n_scales_spatial == 1 and not o.netG.startswith("local"),
        "there is no refining network",
    ),
    IgnoredFlag("vgg_weights", lambda o: is_train(o) and o.no_vgg, "--no_vgg leaves the loss out"),
    IgnoredFlag(
        "load_pretrain",
        lambda o: is_train(o) and o.continue_train,
        "--continue_train goes on where it stood",
    ),
    IgnoredFlag("load_pretrain", lambda o: not is_train(o), "test.py loads the run itself"),
    IgnoredFlag(
        "allow_partial",
        lambda o: is_train(o) and (o.continue_train or not o.load_pretrain),
        "in training it is for --load_pretrain",
    ),
    IgnoredFlag(
        "input_size", lambda o: not is_train(o) and o.input != "-", "only --input - needs it"
    ),
    IgnoredFlag(
        "side_by_side", lambda o: not is_train(o) and o.output is None, "it needs --output"
    ),
    IgnoredFlag(
        "loop",
        lambda o: not is_train(o) and o.future_labels is not None,
        "--future_labels goes on by itself",
    ),
    IgnoredFlag(
        "loop", lambda o: not is_train(o) and o.input == "-", "a pipe cannot be read again"
    ),
    IgnoredFlag(
        "batch_sequences", lambda o: not is_train(o) and o.input is not None, "--input is one video"
    ),
    IgnoredFlag(
        "batch_sequences",
        lambda o: not is_train(o) and o.keyframes > 1,
        "--keyframes does one sequence at a time",
    ),
    IgnoredFlag(
        "phase",
        lambda o: not is_train(o) and o.input is not None,
        "--input is not a phase of the data set",
    ),
    IgnoredFlag("ndf", lambda o: not is_train(o), "synthesis has no discriminators"),
    IgnoredFlag("eval_frames", lambda o: is_train(o) and not o.eval_freq, "it needs --eval_freq"),
    IgnoredFlag("eval_phase", lambda o: is_train(o) and not o.eval_freq, "it needs --eval_freq"),
    IgnoredFlag(
        "compile",
        lambda o: is_train(o) and o.debug_replay is not None,
        "--debug_replay names the operation that went wrong, which a program hides",
    ),
    IgnoredFlag(
        "sparse_D",
        lambda o: is_train(o) and o.n_scales_temporal == 0,
        "there is no temporal discriminator",
    ),
)


def list_out_of_range(opt: _ParsedOptions) -> Iterator[str]:
    for flags, fits, words in (
        (MIN_VALUES, operator.ge, "at least"),
        (MAX_VALUES, operator.le, "at most"),
    ):
        for flag, bound in flags.items():
            value = getattr(opt, flag, None)
            if value is not None and not fits(value, bound):
                yield f"--{flag} {value}: expected {words} {bound}"


def validate_options(opt: _ParsedOptions) -> None:
    """UserError for the first thing that cannot be, naming its flags."""
    values = {
        key: ",".join(map(str, value)) if isinstance(value, tuple) else value
        for key, value in vars(opt).items()
    } | {"gpu_ids": ",".join(_split_gpu_ids(opt))}
    for line in list_out_of_range(opt):
        raise UserError(line)
    for refusal in INVALID_COMBINATIONS:
        if refusal.is_invalid(opt):
            raise UserError(refusal.message.format(**values))


def list_ignored_flags(opt: _ParsedOptions, parser: argparse.ArgumentParser) -> list[str]:
    """A line for every flag that was given and has no effect, and for what one flag decides for another."""
    reasons: dict[str, str] = {}  # the first of each flag
    for rule in IGNORED_FLAGS:
        if getattr(opt, rule.flag, None) != parser.get_default(rule.flag) and rule.is_ignored(opt):
            reasons.setdefault(rule.flag, rule.reason)
    lines = [f"--{flag} is not used: {because}" for flag, because in reasons.items()]
    if opt.openpose_only and not opt.no_flow:
        lines.append("--openpose_only implies --no_flow: every frame is painted anew")
    return lines
