"""Flags that train.py and test.py share, one argument group per topic."""

from __future__ import annotations

import argparse
from pathlib import Path

from models.networks.pix2pixhd import SINGLE_IMAGE_KINDS

UNUSED_FLAG_HELP = "no effect; accepted for compatibility with the published scripts"


def count_or_inf(text: str) -> float:
    """Parse a count, or `inf` for no limit."""
    return float("inf") if text == "inf" else int(text)


def int_list(text: str) -> tuple[int, ...]:
    """Parse comma-separated integers; empty items are skipped."""
    return tuple(int(part) for part in text.split(",") if part.strip())


def add_base_flags(parser: argparse.ArgumentParser) -> None:
    """Add all flags that train.py and test.py share."""
    _add_run_flags(parser)
    _add_device_flags(parser)
    _add_data_flags(parser)
    _add_face_flags(parser)
    _add_pose_flags(parser)
    _add_generator_flags(parser)
    _add_first_frame_flags(parser)
    _add_feature_flags(parser)


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument(
        "--name", default="experiment_name", help="name of the run: its folder in --checkpoints_dir"
    )
    group.add_argument(
        "--checkpoints_dir",
        type=Path,
        default=Path("./checkpoints"),
        metavar="DIR",
        help="folder that contains the run folders",
    )
    group.add_argument(
        "--model",
        default="vid2vid",
        choices=["vid2vid", "single", "future_labels"],
        help="network to train. vid2vid: the video generator; single: a single-image generator for "
        "the first frames; future_labels: a predictor of the next label map from the "
        "--n_frames_G - 1 previous ones. test.py accepts vid2vid only",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of all random numbers; on a CPU, runs with equal seeds are bit-identical",
    )
    group.add_argument(
        "--debug",
        action="store_true",
        help="set --print_freq and --display_freq to 1; ignored by test.py",
    )
    group.add_argument(
        "--display_winsize",
        type=int,
        default=512,
        metavar="PIXELS",
        help="width of the images on the HTML pages",
    )
    group.add_argument(
        "--tf_log",
        action="store_true",
        help="write TensorBoard logs to CHECKPOINTS_DIR/NAME/logs; ignored by test.py",
    )
    group.add_argument("--display_id", type=int, default=0, help=UNUSED_FLAG_HELP)
    group.add_argument(
        "--local_rank", type=int, default=0, help=f"{UNUSED_FLAG_HELP} (torchrun sets the rank)"
    )


def _add_device_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("devices and precision")
    group.add_argument(
        "--gpu_ids",
        metavar="IDS",
        help="comma-separated GPU ids, or cpu (also -1), or mps (Apple GPU); default: GPU 0 if there "
        "is one, else cpu",
    )
    group.add_argument(
        "--n_gpus_gen",
        type=int,
        default=-1,
        metavar="N",
        help="number of GPUs that generate, after the first one, when --batchSize is 1; the first "
        "GPU holds the weights, and the remaining ones run the discriminators. -1: every GPU runs "
        "both. Ignored by test.py and with --batchSize above 1",
    )
    group.add_argument(
        "--amp",
        choices=["off", "bf16", "fp16"],
        default="off",
        help="automatic mixed precision: autocast to bfloat16, or to float16 with loss scaling",
    )
    group.add_argument("--fp16", action="store_true", help="published spelling of --amp fp16")
    group.add_argument(
        "--tf32",
        choices=["on", "off"],
        default="on",
        help="allow TensorFloat-32 in convolutions on NVIDIA GPUs",
    )
    group.add_argument(
        "--cudnn",
        choices=["heuristic", "benchmark", "deterministic"],
        default="heuristic",
        help="how cuDNN selects kernels. benchmark: time them once per image size, which is faster if all "
        "clips have one size; deterministic: runs with equal seeds are bit-identical",
    )


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--dataroot",
        type=Path,
        default=Path("datasets/Cityscapes/"),
        metavar="DIR",
        help="folder of the data set",
    )
    group.add_argument(
        "--dataset_mode",
        default="temporal",
        choices=["temporal", "face", "pose", "test"],
        help="type of condition. temporal: label maps or RGB images; face: face keypoints; pose: "
        "DensePose and OpenPose; test: same as temporal",
    )
    group.add_argument(
        "--batchSize",
        type=int,
        default=1,
        metavar="N",
        help="clips per training step and process; ignored by test.py",
    )
    group.add_argument(
        "--nThreads",
        type=int,
        default=2,
        metavar="N",
        help="worker processes of the data loader; 0: load in the training process. Ignored by test.py",
    )
    group.add_argument(
        "--serial_batches",
        action="store_true",
        help="read the sequences in order instead of shuffled; ignored by test.py",
    )
    group.add_argument(
        "--max_dataset_size",
        type=count_or_inf,
        default=float("inf"),
        metavar="N",
        help="maximum number of clips per epoch (train.py) or of sequences (test.py)",
    )
    group.add_argument(
        "--label_nc",
        type=int,
        default=0,
        metavar="N",
        help="number of labels of the label maps (ids 0 to N - 1); 0: the condition is not a label map",
    )
    group.add_argument(
        "--allow_symlinks",
        "--allow_links",
        action="store_true",
        help="follow symbolic links in the data set that point outside of --dataroot",
    )
    group.add_argument(
        "--ignore_label",
        type=int,
        metavar="ID",
        help="id of unlabeled pixels (often 255), which get an all-zero one-hot vector; must not be "
        "one of the --label_nc labels. Ignored with --label_nc 0",
    )
    group.add_argument(
        "--input_nc",
        type=int,
        default=3,
        metavar="N",
        help="channels of the condition; ignored if --label_nc is set",
    )
    group.add_argument(
        "--output_nc", type=int, default=3, metavar="N", help="channels of the images; must be 3"
    )
    group.add_argument(
        "--use_instance",
        action="store_true",
        help="add the edges of the instance maps to the condition (--dataset_mode temporal only)",
    )
    group.add_argument(
        "--resize_or_crop",
        default="scaleWidth",
        metavar="MODE",
        help="resize, scaleWidth, scaleHeight, randomScaleWidth, randomScaleHeight, crop, a "
        "combination SCALE_and_crop or SCALE_and_scaledCrop, or none (keep the size)",
    )
    group.add_argument(
        "--loadSize",
        type=int,
        default=512,
        metavar="PIXELS",
        help="target width or height of the resize",
    )
    group.add_argument(
        "--fineSize",
        type=int,
        default=512,
        metavar="PIXELS",
        help="size of the crop, and lower bound of the random scales; ignored without either, except "
        "that --add_face_disc derives its crop from it",
    )
    group.add_argument(
        "--no_flip",
        action="store_true",
        help="do not flip training clips horizontally at random; poses are never flipped",
    )


def _add_face_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("faces (--dataset_mode face)")
    group.add_argument(
        "--no_canny_edge",
        action="store_true",
        help="do not add the image's Canny edges outside of the face to the edge map",
    )
    group.add_argument(
        "--no_dist_map",
        action="store_true",
        help="use the edge map only (--input_nc 1), without the 14 distance maps",
    )
    group.add_argument(
        "--random_scale_points",
        action="store_true",
        help="scale the face parts to other proportions (fixed factors); ignored by train.py",
    )


def _add_pose_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("poses (--dataset_mode pose)")
    group.add_argument(
        "--densepose_only", action="store_true", help="use DensePose only (--input_nc 3)"
    )
    group.add_argument(
        "--openpose_only",
        action="store_true",
        help="use OpenPose only (--input_nc 3); implies --no_flow",
    )
    group.add_argument(
        "--add_face_disc",
        action="store_true",
        help="train an additional discriminator on the face region; ignored by test.py",
    )
    group.add_argument(
        "--remove_face_labels",
        action="store_true",
        help="remove the DensePose face parts and add noise to the OpenPose head points; ignored by "
        "test.py",
    )
    group.add_argument(
        "--random_drop_prob",
        type=float,
        default=0.2,
        metavar="P",
        help="probability of dropping each body part; ignored by test.py",
    )
    group.add_argument(
        "--basic_point_only",
        action="store_true",
        help="do not draw the OpenPose hands, face and head limbs",
    )
    group.add_argument(
        "--pose_people",
        "--people",
        default="all",
        choices=["all", "largest"],
        help="OpenPose people to draw: all, or the one with the largest bounding box",
    )


def _add_generator_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("generator")
    group.add_argument(
        "--netG",
        default="composite",
        choices=["composite", *SINGLE_IMAGE_KINDS],
        help="architecture. composite: the video generator; the others are single-image generators "
        "for --model single",
    )
    group.add_argument(
        "--ngf", type=int, default=128, metavar="N", help="channels of the generator's first layer"
    )
    group.add_argument(
        "--ndf",
        type=int,
        default=64,
        metavar="N",
        help="channels of the first layer of the discriminators at full resolution; ignored by "
        "test.py",
    )
    group.add_argument(
        "--n_blocks",
        type=int,
        default=9,
        metavar="N",
        help="residual blocks of the coarsest generator",
    )
    group.add_argument(
        "--n_downsample_G",
        type=int,
        default=3,
        metavar="N",
        help="stride-2 layers of the coarsest generator",
    )
    group.add_argument(
        "--n_scales_spatial",
        type=int,
        default=1,
        metavar="N",
        help="number of coarse-to-fine generators; each one doubles the resolution of the previous "
        "one",
    )
    group.add_argument(
        "--n_blocks_local",
        type=int,
        default=3,
        metavar="N",
        help="residual blocks of each finer generator; ignored with --n_scales_spatial 1, except by "
        "local single-image generators",
    )
    group.add_argument(
        "--n_local_enhancers",
        type=int,
        default=1,
        metavar="N",
        help="enhancer networks of a local single-image generator; ignored by all others",
    )
    group.add_argument(
        "--norm", default="batch", choices=["batch", "instance"], help="normalization layers"
    )
    group.add_argument(
        "--n_frames_G",
        type=int,
        default=3,
        metavar="N",
        help="frames in the generator's input: the current one and N - 1 previous ones",
    )
    group.add_argument(
        "--no_flow",
        action="store_true",
        help="do not blend the generated image with the warped previous one",
    )
    group.add_argument(
        "--fg", action="store_true", help="generate the foreground with a separate network"
    )
    group.add_argument(
        "--fg_labels",
        type=int_list,
        default=(26,),
        metavar="IDS",
        help="comma-separated label ids of the foreground; ignored without --fg",
    )
    group.add_argument(
        "--load_pretrain",
        type=Path,
        metavar="DIR",
        help="run folder whose weights initialize the networks, for example that of a coarser scale; "
        "ignored by test.py and with --continue_train",
    )
    group.add_argument(
        "--allow_partial",
        action="store_true",
        help="load the weights that match and report the rest instead of stopping; in train.py for "
        "--load_pretrain only",
    )


def _add_first_frame_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("first frames")
    group.add_argument(
        "--no_first_img",
        action="store_true",
        help="generate the first frames with the video generator, from a history of zeros",
    )
    group.add_argument(
        "--use_single_G",
        action="store_true",
        help="generate the first frames with a published single-image network, for which --dataroot "
        "must contain City or face; ignored by train.py, and with --no_first_img, --use_real_img or "
        "--single_G",
    )
    group.add_argument(
        "--single_G",
        type=Path,
        metavar="PATH",
        help="generate the first frames with this single-image network: a run folder of --model "
        "single, or a .pth file; ignored by train.py, and with --no_first_img or --use_real_img",
    )


def _add_feature_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("instance features (several outputs for one input)")
    group.add_argument(
        "--label_feat",
        action="store_true",
        help="train an instance feature encoder; at test time sample features with --seed",
    )
    group.add_argument(
        "--feat_num",
        type=int,
        default=3,
        metavar="N",
        help="features per instance; ignored without features",
    )
    group.add_argument(
        "--nef",
        type=int,
        default=32,
        metavar="N",
        help="channels of the encoder's first layer; ignored by test.py and without features",
    )
    group.add_argument(
        "--load_features",
        action="store_true",
        help="use the features of random training instances instead of samples of the fitted "
        "mixtures; ignored by train.py and without --label_feat",
    )
    group.add_argument(
        "--netE",
        default="simple",
        choices=["simple"],
        help="architecture of the encoder; simple is the only one",
    )
    group.add_argument(
        "--n_downsample_E",
        type=int,
        default=3,
        metavar="N",
        help="stride-2 layers of the encoder; ignored by test.py and without features",
    )
