"""The flags that training and synthesis share (SPEC 1), one group a concern."""

from __future__ import annotations

import argparse
from pathlib import Path

from models.networks.pix2pixhd import SINGLE_IMAGE_KINDS


def count_or_inf(text: str) -> float:
    """A count, or `inf` for no limit."""
    return float("inf") if text == "inf" else int(text)


def int_list(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())


def add_base_flags(parser: argparse.ArgumentParser) -> None:
    add_run_flags(parser)
    add_device_flags(parser)
    add_data_flags(parser)
    add_face_flags(parser)
    add_pose_flags(parser)
    add_generator_flags(parser)
    add_first_frame_flags(parser)
    add_feature_flags(parser)


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the run")
    group.add_argument(
        "--name", default="experiment_name", help="the run's folder under checkpoints_dir"
    )
    group.add_argument(
        "--checkpoints_dir", type=Path, default=Path("./checkpoints"), help="where runs are kept"
    )
    group.add_argument(
        "--model",
        default="vid2vid",
        choices=["vid2vid", "single", "future_labels"],
        help="single: train a network for first images, which paints one frame alone; future_labels: "
        "one that predicts the next label map from the --n_frames_G - 1 before it",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of everything random; on a CPU a run repeats bit for bit",
    )
    group.add_argument(
        "--debug", action="store_true", help="show and log every step, one worker, more lines"
    )
    group.add_argument(
        "--display_winsize",
        type=int,
        default=512,
        metavar="PIXELS",
        help="width of images on pages",
    )
    group.add_argument(
        "--tf_log",
        action="store_true",
        help="write TensorBoard's logs to checkpoints_dir/NAME/logs",
    )
    group.add_argument("--display_id", type=int, default=0, help="accepted, without effect")
    group.add_argument(
        "--local_rank",
        type=int,
        default=0,
        help="accepted, without effect: torchrun tells otherwise",
    )


def add_device_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("devices and precision")
    group.add_argument(
        "--gpu_ids",
        metavar="IDS",
        help="a list of GPUs, or cpu (-1), or mps (Apple's); default: GPU "
        "0, or the CPU where there is none",
    )
    group.add_argument(
        "--n_gpus_gen",
        type=int,
        default=-1,
        metavar="N",
        help="with --batchSize 1: how many, after the first, generate a window's frames in turn; the "
        "others discriminate. -1 or all: each does both",
    )
    group.add_argument(
        "--amp",
        choices=["off", "bf16", "fp16"],
        default="off",
        help="mixed precision: convolutions in bfloat16 (needs no care) or float16 (older GPUs)",
    )
    group.add_argument("--fp16", action="store_true", help="the old spelling of --amp fp16")
    group.add_argument(
        "--tf32",
        choices=["on", "off"],
        default="on",
        help="TensorFloat-32 convolutions on NVIDIA GPUs",
    )
    group.add_argument(
        "--cudnn",
        choices=["heuristic", "benchmark", "deterministic"],
        default="heuristic",
        help="how cuDNN picks kernels; benchmark: faster where all clips have one size",
    )


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--dataroot", type=Path, default=Path("datasets/Cityscapes/"), help="folder of the data set"
    )
    group.add_argument(
        "--dataset_mode",
        default="temporal",
        choices=["temporal", "face", "pose", "test"],
        help="temporal: label maps or images as condition (test.py reads it as test)",
    )
    group.add_argument("--batchSize", type=int, default=1, help="clips a step")
    group.add_argument(
        "--nThreads", type=int, default=2, help="loader processes; 0: load in the training process"
    )
    group.add_argument(
        "--serial_batches", action="store_true", help="sequences in order, not shuffled"
    )
    group.add_argument(
        "--max_dataset_size",
        type=count_or_inf,
        default=float("inf"),
        metavar="N",
        help="at most so many clips an epoch (train) or sequences (test)",
    )
    group.add_argument(
        "--label_nc", type=int, default=0, help="number of labels; 0: the condition is an image"
    )
    group.add_argument(
        "--allow_links", action="store_true", help="let links in the data lead out of dataroot"
    )
    group.add_argument(
        "--ignore_label",
        type=int,
        metavar="ID",
        help="an id beyond label_nc that means unlabelled (often 255): its pixels have no label",
    )
    group.add_argument(
        "--input_nc", type=int, default=3, help="channels of a condition without labels"
    )
    group.add_argument("--output_nc", type=int, default=3, help="channels of the images: 3")
    group.add_argument(
        "--use_instance",
        action="store_true",
        help="add the edges of instance maps to the condition",
    )
    group.add_argument(
        "--resize_or_crop",
        default="scaleWidth",
        metavar="HOW",
        help="resize, scaleWidth, scaleHeight, randomScaleWidth, randomScaleHeight, crop, "
        "their combinations SCALE_and_crop and SCALE_and_scaledCrop, or none (any size as it is)",
    )
    group.add_argument("--loadSize", type=int, default=512, metavar="PIXELS", help="scale to this")
    group.add_argument(
        "--fineSize", type=int, default=512, metavar="PIXELS", help="then crop to this"
    )
    group.add_argument("--no_flip", action="store_true", help="never mirror clips in training")


def add_face_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("faces (--dataset_mode face)")
    group.add_argument(
        "--no_canny_edge", action="store_true", help="no edges of the image outside the face"
    )
    group.add_argument(
        "--no_dist_map", action="store_true", help="no distance maps: one channel instead of 15"
    )
    group.add_argument(
        "--random_scale_points", action="store_true", help="in test: another face's proportions"
    )


def add_pose_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("poses (--dataset_mode pose)")
    group.add_argument(
        "--densepose_only", action="store_true", help="condition: DensePose alone (--input_nc 3)"
    )
    group.add_argument(
        "--openpose_only", action="store_true", help="condition: OpenPose alone (--input_nc 3)"
    )
    group.add_argument("--add_face_disc", action="store_true", help="a discriminator for the face")
    group.add_argument(
        "--remove_face_labels", action="store_true", help="in training: no face parts, noisy points"
    )
    group.add_argument(
        "--random_drop_prob",
        type=float,
        default=0.2,
        metavar="P",
        help="in training: drop each part with this probability",
    )
    group.add_argument(
        "--basic_point_only", action="store_true", help="neither hands nor face nor ears"
    )
    group.add_argument(
        "--people", default="all", choices=["all", "largest"], help="who is drawn of several people"
    )


def add_generator_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("generator")
    group.add_argument(
        "--netG",
        default="composite",
        choices=["composite", *SINGLE_IMAGE_KINDS],
        help="composite: the video network; the others paint single images (--model single)",
    )
    group.add_argument("--ngf", type=int, default=128, help="width of its first layer")
    group.add_argument(
        "--ndf", type=int, default=64, help="in training: width of the discriminators' first layers"
    )
    group.add_argument(
        "--n_blocks", type=int, default=9, help="residual blocks of the coarsest network"
    )
    group.add_argument(
        "--n_downsample_G", type=int, default=3, help="times that the coarsest network halves"
    )
    group.add_argument(
        "--n_scales_spatial", type=int, default=1, help="networks, each refining the one before"
    )
    group.add_argument(
        "--n_blocks_local", type=int, default=3, help="residual blocks of a refining network"
    )
    group.add_argument(
        "--n_local_enhancers", type=int, default=1, help="of a local single-image network"
    )
    group.add_argument(
        "--norm", default="batch", choices=["batch", "instance"], help="normalisation"
    )
    group.add_argument(
        "--n_frames_G", type=int, default=3, help="frames it sees: this one and those before"
    )
    group.add_argument(
        "--no_flow", action="store_true", help="paint every frame anew, without warping the last"
    )
    group.add_argument(
        "--fg", action="store_true", help="paint the foreground with a network of its own"
    )
    group.add_argument(
        "--fg_labels", type=int_list, default=(26,), metavar="IDS", help="labels of the foreground"
    )
    group.add_argument(
        "--load_pretrain",
        type=Path,
        metavar="DIR",
        help="start from the weights of another run, or of a coarser stage",
    )
    group.add_argument(
        "--allow_partial",
        action="store_true",
        help="load what fits of weights of other networks (test, or --load_pretrain), and say how much",
    )


def add_first_frame_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("first images")
    group.add_argument(
        "--no_first_img", action="store_true", help="the network paints the first images itself"
    )
    group.add_argument(
        "--use_single_G",
        action="store_true",
        help="in test: a published single-image network (City or face in dataroot) paints them",
    )
    group.add_argument(
        "--single_G",
        type=Path,
        metavar="PATH",
        help="in test: this single-image network does: a run of --model single, or a .pth file",
    )


def add_feature_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("several outputs for one input")
    group.add_argument(
        "--label_feat",
        action="store_true",
        help="an encoder learns how instances look; in test they look as --seed draws it",
    )
    group.add_argument("--feat_num", type=int, default=3, help="features of an instance")
    group.add_argument("--nef", type=int, default=32, help="width of the encoder's first layer")
    group.add_argument(
        "--load_features",
        action="store_true",
        help="in test: instances look like some of the training data, not like mixtures of them",
    )
    group.add_argument(
        "--netE", default="simple", choices=["simple"], help="simple: the one encoder there is"
    )
    group.add_argument(
        "--n_downsample_E", type=int, default=3, help="times that the encoder halves"
    )
