"""Flags of train.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from options.base import UNUSED_FLAG_HELP, add_base_flags
from options.parsing import OptionParser, parse_options
from options.schema import TrainOptions


def build_train_parser() -> OptionParser:
    """Build the parser of train.py."""
    parser = OptionParser("Train a generator of video from label maps, face edges or poses.")
    add_base_flags(parser)
    _add_progress_flags(parser)
    _add_schedule_flags(parser)
    _add_clip_flags(parser)
    _add_discriminator_flags(parser)
    _add_loss_flags(parser)
    _add_distillation_flags(parser)
    _add_flow_flags(parser)
    _add_stability_flags(parser)
    _add_speed_flags(parser)
    _add_scaling_flags(parser)
    return parser


def parse_train(argv: Sequence[str] | None = None) -> TrainOptions:
    """Parse and check the flags of train.py.

    Args:
        argv: The arguments; None for those of the process.

    Raises:
        UserError: A flag or a combination of flags is invalid; the message names them.
    """
    return parse_options(build_train_parser(), argv, TrainOptions)


def _add_progress_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("logging, checkpoints and validation")
    group.add_argument(
        "--phase", default="train", help="prefix of the data folders: PHASE_A, PHASE_B, ..."
    )
    group.add_argument(
        "--display_freq",
        type=int,
        default=100,
        metavar="CLIPS",
        help="clips between two updates of the HTML page's images",
    )
    group.add_argument(
        "--print_freq",
        type=int,
        default=100,
        metavar="CLIPS",
        help="clips between two lines in loss_log.txt and on the console",
    )
    group.add_argument(
        "--save_latest_freq",
        type=int,
        default=1000,
        metavar="CLIPS",
        help="clips between two checkpoints `latest`",
    )
    group.add_argument(
        "--save_epoch_freq",
        type=int,
        default=1,
        metavar="EPOCHS",
        help="epochs between two saved sets of weights that are named by their epoch",
    )
    group.add_argument(
        "--keep_last_epochs",
        "--keep",
        type=int,
        metavar="N",
        help="delete the weights of all but the last N saved epochs; default: keep all",
    )
    group.add_argument(
        "--eval_freq",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="epochs between two validations: synthesize the --eval_phase sequences as test.py does, "
        "log the metrics, and save the best weights as `best`; 0: never",
    )
    group.add_argument(
        "--eval_phase",
        default="test",
        help="prefix of the validation data folders; ignored without --eval_freq",
    )
    group.add_argument(
        "--eval_frames",
        type=int,
        default=30,
        metavar="N",
        help="maximum number of frames per validation sequence; ignored without --eval_freq",
    )
    group.add_argument("--no_html", action="store_true", help="do not write the HTML page")
    group.add_argument(
        "--continue_train", action="store_true", help="resume the run from its checkpoint `latest`"
    )
    group.add_argument(
        "--debug_replay",
        type=Path,
        metavar="FILE",
        help="re-run the training step that produced a non-finite value, from the saved dump FILE",
    )
    group.add_argument(
        "--which_epoch",
        default="latest",
        help="weights that --load_pretrain loads: latest or an epoch; ignored without it",
    )


def _add_schedule_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("schedule and optimizer")
    group.add_argument(
        "--niter",
        type=int,
        default=10,
        metavar="EPOCHS",
        help="epochs at the initial learning rate",
    )
    group.add_argument(
        "--niter_decay",
        type=int,
        default=10,
        metavar="EPOCHS",
        help="epochs of linear decay of the learning rate to 0, after --niter",
    )
    group.add_argument(
        "--niter_step",
        type=int,
        default=5,
        metavar="EPOCHS",
        help="epochs between two doublings of the clip length",
    )
    group.add_argument(
        "--niter_fix_global",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="epochs at the start that train the finest generator only; ignored with "
        "--n_scales_spatial 1",
    )
    group.add_argument("--lr", type=float, default=0.0002, help="initial learning rate of Adam")
    group.add_argument("--beta1", type=float, default=0.5, help="beta1 of Adam")
    group.add_argument(
        "--TTUR",
        action="store_true",
        help="use two learning rates: lr / 2 for the generator, 2 * lr for the image "
        "discriminators, and betas (0, 0.9) for both; temporal discriminators keep --lr and --beta1",
    )


def _add_clip_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clips")
    group.add_argument(
        "--n_frames_total",
        type=int,
        default=30,
        metavar="N",
        help="generated frames per clip in the first epochs; see --niter_step",
    )
    group.add_argument(
        "--max_frames_per_gpu",
        type=int,
        default=1,
        metavar="N",
        help="maximum number of frames that a GPU generates before each optimizer step",
    )
    group.add_argument(
        "--max_frames_backpropagate",
        type=int,
        default=1,
        metavar="N",
        help="maximum number of generated frames that gradients pass back through",
    )
    group.add_argument(
        "--max_t_step",
        type=int,
        default=1,
        metavar="N",
        help="maximum distance between two frames of a clip, in frames of the sequence; the distance "
        "is random per clip",
    )
    group.add_argument(
        "--clips_per_epoch",
        type=int,
        metavar="N",
        help="clips per epoch, useful for small data sets; default: one clip per sequence (poses: one "
        "per possible start frame)",
    )


def _add_discriminator_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("discriminators")
    group.add_argument(
        "--num_D", type=int, default=2, metavar="N", help="spatial scales of each discriminator"
    )
    group.add_argument(
        "--n_layers_D",
        type=int,
        default=3,
        metavar="N",
        help="stride-2 layers of each scale of a discriminator",
    )
    group.add_argument(
        "--n_frames_D",
        type=int,
        default=3,
        metavar="N",
        help="frames in a temporal discriminator's input",
    )
    group.add_argument(
        "--n_scales_temporal",
        type=int,
        default=3,
        metavar="N",
        help="number of temporal discriminators; number s samples every (n_frames_D ** s)-th frame, "
        "s from 0",
    )
    group.add_argument(
        "--sparse_D",
        action="store_true",
        help="use frame groups that do not overlap in the temporal discriminators",
    )
    group.add_argument("--pool_size", type=int, default=1, help=UNUSED_FLAG_HELP)


def _add_loss_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("losses")
    group.add_argument(
        "--gan_mode",
        default="ls",
        choices=["ls", "original", "hinge"],
        help="adversarial loss: least squares, binary cross entropy or hinge",
    )
    group.add_argument(
        "--lambda_feat",
        type=float,
        default=10.0,
        metavar="WEIGHT",
        help="weight of the feature matching loss and of the VGG loss",
    )
    group.add_argument(
        "--lambda_F",
        type=float,
        default=10.0,
        metavar="WEIGHT",
        help="weight of the L1 loss between the generator's flow and the reference flow",
    )
    group.add_argument(
        "--lambda_T",
        type=float,
        default=10.0,
        metavar="WEIGHT",
        help="weight of the warping losses",
    )
    group.add_argument(
        "--no_ganFeat", action="store_true", help="do not use the feature matching loss"
    )
    group.add_argument("--no_vgg", action="store_true", help="do not use the VGG loss")
    group.add_argument(
        "--vgg_weights",
        type=Path,
        metavar="PATH",
        help="VGG19 weights; default: those of torchvision; ignored with --no_vgg",
    )


def _add_distillation_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("distillation")
    group.add_argument(
        "--distill_from",
        type=Path,
        metavar="DIR",
        help="run folder of a trained teacher. Its generator also processes every window, and this "
        "run's generator, which may have other --ngf, --n_blocks and --n_downsample_G, is trained to "
        "match its images in addition to the other losses. --model vid2vid only",
    )
    group.add_argument(
        "--lambda_distill",
        type=float,
        default=10.0,
        metavar="WEIGHT",
        help="weight of the distillation loss; ignored without --distill_from",
    )


def _add_flow_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("reference flow")
    group.add_argument(
        "--flow_net",
        default="auto",
        choices=["auto", "flownet2", "raft", "dis", "none"],
        help="estimator of the reference flow. auto: flownet2 if --flownet2_checkpoint exists, else "
        "raft if its weights are available, else dis (OpenCV, needs no weights); none: train without",
    )
    group.add_argument(
        "--flownet2_checkpoint",
        type=Path,
        metavar="PATH",
        default=Path("models/flownet2_pytorch/FlowNet2_checkpoint.pth.tar"),
        help="weights of FlowNet2",
    )
    group.add_argument(
        "--raft_weights",
        type=Path,
        metavar="PATH",
        help="weights of RAFT; default: those in torchvision's cache",
    )
    group.add_argument(
        "--flow_cache",
        type=Path,
        metavar="DIR",
        help="store the flow between the original images in DIR and reuse it, instead of estimating "
        "it in every epoch",
    )


def _add_stability_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("stability (all off by default)")
    group.add_argument(
        "--ema",
        type=float,
        metavar="STEPS",
        help="half-life, in windows, of an exponential moving average of the generator's weights, saved "
        "as *_net_G0_ema.pth, ...; see --use_ema of test.py",
    )
    group.add_argument(
        "--grad_clip",
        type=float,
        metavar="NORM",
        help="maximum norm of the gradient of each optimizer; longer gradients are scaled down",
    )
    group.add_argument(
        "--r1",
        type=float,
        default=0.0,
        metavar="WEIGHT",
        help="weight of the R1 gradient penalty on real images (adds one discriminator pass)",
    )
    group.add_argument(
        "--spectral_norm",
        action="store_true",
        help="apply spectral normalization to the discriminators (changes state-dict keys)",
    )


def _add_speed_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speed")
    group.add_argument(
        "--compile",
        action="store_true",
        help="apply torch.compile to generators, discriminators and VGG. The first step of each image "
        "size takes up to minutes (--dry_run includes it); later steps are faster on a GPU and "
        "usually slower on a CPU. The R1 penalty is not compiled. Without a working compiler, a "
        "warning is printed and the networks run uncompiled. TORCHINDUCTOR_CACHE_DIR sets the folder "
        "of the compiler's cache. Ignored with --debug_replay",
    )


def _add_scaling_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("memory and multiple processes")
    group.add_argument(
        "--checkpoint_activations",
        action="store_true",
        help="recompute the generator's activations in the backward pass instead of storing them",
    )
    group.add_argument(
        "--sync_bn",
        action="store_true",
        help="share batch-norm statistics between the processes of torchrun (GPUs only)",
    )
    group.add_argument(
        "--dry_run",
        action="store_true",
        help="run a few training steps, print their memory use and time, and exit without saving",
    )
