"""Rules that find flags which the user set but the run ignores."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from options.schema import Options, TestOptions, TrainOptions
from options.validation import (
    OptionsPredicate,
    is_auxiliary_training,
    is_label_prediction_training,
    is_single_image_training,
    uses_instance_features,
    when_testing,
    when_training,
)


class IgnoredFlags(NamedTuple):
    """Flags that have no effect under a condition.

    Attributes:
        flags: The names of the flags.
        is_ignored: The condition.
        reason: The reason, for the message.
    """

    flags: tuple[str, ...]
    is_ignored: OptionsPredicate
    reason: str


def _is_mode_outside(*modes: str) -> OptionsPredicate:
    return lambda opt: opt.dataset_mode not in modes


def _is_training(opt: Options) -> bool:
    return isinstance(opt, TrainOptions)


def _is_testing(opt: Options) -> bool:
    return isinstance(opt, TestOptions)


def _always(_: Options) -> bool:
    return True


# If several rules apply to a flag, the first one's reason is reported.
IGNORED_FLAGS = (
    IgnoredFlags(
        ("pool_size", "aspect_ratio", "ntest", "display_id", "local_rank"),
        _always,
        "accepted for compatibility, without effect",
    ),
    IgnoredFlags(
        ("ignore_label",), lambda opt: not opt.label_nc, "the condition is not a label map"
    ),
    IgnoredFlags(
        ("feat_num",),
        lambda opt: not uses_instance_features(opt),
        "it needs --label_feat or --netG ..._with_features",
    ),
    IgnoredFlags(
        ("nef", "n_downsample_E"),
        lambda opt: not (_is_training(opt) and uses_instance_features(opt)),
        "it configures the encoder, which only train.py with --label_feat or --netG "
        "..._with_features uses",
    ),
    IgnoredFlags(
        ("load_features",),
        lambda opt: _is_training(opt) or not uses_instance_features(opt),
        "it is for test.py --label_feat",
    ),
    IgnoredFlags(
        ("label_feat",), is_single_image_training, "--netG ..._with_features adds the features"
    ),
    IgnoredFlags(
        ("n_local_enhancers",),
        lambda opt: not (is_single_image_training(opt) and opt.netG.startswith("local")),
        "it is for training a local single-image network (--model single --netG local...)",
    ),
    IgnoredFlags(
        (
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
        ),
        is_single_image_training,
        "a single-image network has one scale, one frame and no flow",
    ),
    IgnoredFlags(
        (
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
        ),
        is_label_prediction_training,
        "label prediction trains one network on label maps, without discriminators",
    ),
    IgnoredFlags(("distill_from",), is_auxiliary_training, "distillation needs --model vid2vid"),
    IgnoredFlags(
        ("lambda_distill",),
        when_training(lambda opt: opt.distill_from is None),
        "it needs --distill_from",
    ),
    IgnoredFlags(("n_gpus_gen",), _is_testing, "test.py runs on the first device of --gpu_ids"),
    IgnoredFlags(
        ("n_gpus_gen",),
        when_training(lambda opt: opt.batchSize > 1),
        "with --batchSize above 1 every device runs generators and discriminators on its share of "
        "the clips",
    ),
    IgnoredFlags(
        ("input_nc",), lambda opt: opt.label_nc > 0, "the condition has --label_nc one-hot channels"
    ),
    IgnoredFlags(
        ("use_instance",),
        _is_mode_outside("temporal", "test"),
        "only --dataset_mode temporal has instance maps",
    ),
    IgnoredFlags(
        ("no_canny_edge", "no_dist_map", "random_scale_points"),
        _is_mode_outside("face"),
        "it needs --dataset_mode face",
    ),
    IgnoredFlags(
        (
            "densepose_only",
            "openpose_only",
            "remove_face_labels",
            "random_drop_prob",
            "basic_point_only",
            "pose_people",
        ),
        _is_mode_outside("pose"),
        "it needs --dataset_mode pose",
    ),
    IgnoredFlags(("random_scale_points",), _is_training, "it is for test.py"),
    IgnoredFlags(
        ("use_single_G", "single_G"), _is_training, "train.py uses the real images as first frames"
    ),
    IgnoredFlags(
        ("use_single_G", "single_G"),
        when_testing(lambda opt: opt.no_first_img or opt.use_real_img),
        "--no_first_img and --use_real_img take precedence",
    ),
    IgnoredFlags(
        ("use_single_G",), lambda opt: opt.single_G is not None, "--single_G selects the network"
    ),
    IgnoredFlags(
        ("use_real_img",), lambda opt: opt.no_first_img, "--no_first_img takes precedence"
    ),
    IgnoredFlags(("fg_labels",), lambda opt: not opt.fg, "it needs --fg"),
    IgnoredFlags(
        ("niter_fix_global",),
        lambda opt: opt.n_scales_spatial == 1,
        "there is only one generator (--n_scales_spatial 1)",
    ),
    IgnoredFlags(
        ("n_blocks_local",),
        lambda opt: opt.n_scales_spatial == 1 and not opt.netG.startswith("local"),
        "there is no finer generator (--n_scales_spatial 1)",
    ),
    IgnoredFlags(
        ("vgg_weights",),
        when_training(lambda opt: opt.no_vgg),
        "--no_vgg removes the VGG loss",
    ),
    IgnoredFlags(
        ("load_pretrain",),
        when_training(lambda opt: opt.continue_train),
        "--continue_train loads the weights of the checkpoint",
    ),
    IgnoredFlags(("load_pretrain",), _is_testing, "test.py loads the weights of the run"),
    IgnoredFlags(
        ("allow_partial",),
        when_training(lambda opt: opt.continue_train or not opt.load_pretrain),
        "in train.py it is for --load_pretrain",
    ),
    IgnoredFlags(
        ("input_size",), when_testing(lambda opt: opt.input != "-"), "it is for --input -"
    ),
    IgnoredFlags(
        ("side_by_side",), when_testing(lambda opt: opt.output is None), "it needs --output"
    ),
    IgnoredFlags(
        ("loop_input",),
        when_testing(lambda opt: opt.future_labels is not None),
        "--future_labels predicts the following label maps",
    ),
    IgnoredFlags(
        ("loop_input",),
        when_testing(lambda opt: opt.input == "-"),
        "standard input cannot be read twice",
    ),
    IgnoredFlags(
        ("batch_sequences",),
        when_testing(lambda opt: opt.input is not None),
        "--input is a single sequence",
    ),
    IgnoredFlags(
        ("batch_sequences",),
        when_testing(lambda opt: opt.keyframes > 1),
        "--keyframes processes one sequence at a time",
    ),
    IgnoredFlags(
        ("phase",), when_testing(lambda opt: opt.input is not None), "--input replaces the data set"
    ),
    IgnoredFlags(("ndf",), _is_testing, "test.py uses no discriminators"),
    IgnoredFlags(
        ("eval_frames", "eval_phase"),
        when_training(lambda opt: not opt.eval_freq),
        "it needs --eval_freq",
    ),
    IgnoredFlags(
        ("compile",),
        when_training(lambda opt: opt.debug_replay is not None),
        "--debug_replay runs uncompiled, to locate the operation that failed",
    ),
    IgnoredFlags(
        ("sparse_D",),
        when_training(lambda opt: opt.n_scales_temporal == 0),
        "there are no temporal discriminators",
    ),
)


def list_ignored_flags(opt: Options, parser: argparse.ArgumentParser) -> list[str]:
    """Return a line for each non-default option that has no effect, and for each implied option."""
    reasons: dict[str, str] = {}
    for rule in IGNORED_FLAGS:
        if not rule.is_ignored(opt):
            continue
        for flag in rule.flags:
            if getattr(opt, flag, None) != parser.get_default(flag):
                reasons.setdefault(flag, rule.reason)
    lines = [f"--{flag} is not used: {reason}" for flag, reason in reasons.items()]
    if opt.openpose_only and not opt.no_flow:
        lines.append("--openpose_only implies --no_flow: images are not blended with warped ones")
    return lines
