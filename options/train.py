"""The flags of training (SPEC 1)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from options.base import add_base_flags
from options.parsing import OptionParser, Options, parse_options


def build_train_parser() -> OptionParser:
    parser = OptionParser("Learn to turn label maps, face edges or poses into video.")
    add_base_flags(parser)
    add_progress_flags(parser)
    add_schedule_flags(parser)
    add_clip_flags(parser)
    add_discriminator_flags(parser)
    add_loss_flags(parser)
    add_distillation_flags(parser)
    add_flow_flags(parser)
    add_stability_flags(parser)
    add_speed_flags(parser)
    add_scaling_flags(parser)
    return parser


def parse_train(argv: Sequence[str] | None = None) -> Options:
    """Checked options of `train.py`. UserError names the flags that do not fit together."""
    return parse_options(build_train_parser(), argv)


def add_progress_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("watching and saving (all counted in clips)")
    group.add_argument("--phase", default="train", help="prefix of the data's folders")
    group.add_argument("--display_freq", type=int, default=100, help="images to the page")
    group.add_argument("--print_freq", type=int, default=100, help="losses to loss_log.txt")
    group.add_argument("--save_latest_freq", type=int, default=1000, help="save the latest state")
    group.add_argument(
        "--save_epoch_freq", type=int, default=1, metavar="EPOCHS", help="save an epoch's weights"
    )
    group.add_argument(
        "--keep",
        type=int,
        metavar="N",
        help="keep the weights of the last N epochs only; default: all",
    )
    group.add_argument(
        "--eval_freq",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="after so many, synthesise held-out clips as test.py does, log how good they are, and keep "
        "the best weights as `best`; 0: never",
    )
    group.add_argument("--eval_phase", default="test", help="prefix of the held-out data's folders")
    group.add_argument(
        "--eval_frames", type=int, default=30, help="of each held-out sequence, at most"
    )
    group.add_argument("--no_html", action="store_true", help="no page")
    group.add_argument(
        "--continue_train", action="store_true", help="go on where the run's saved state stands"
    )
    group.add_argument(
        "--debug_replay",
        type=Path,
        metavar="FILE",
        help="repeat the step at which a run stopped on a number that was not finite, from what it left",
    )
    group.add_argument(
        "--which_epoch",
        default="latest",
        help="weights that --load_pretrain takes: latest or an epoch",
    )


def add_schedule_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("schedule and optimiser")
    group.add_argument(
        "--niter", type=int, default=10, metavar="EPOCHS", help="at full learning rate"
    )
    group.add_argument(
        "--niter_decay", type=int, default=10, metavar="EPOCHS", help="while it falls to 0"
    )
    group.add_argument(
        "--niter_step",
        type=int,
        default=5,
        metavar="EPOCHS",
        help="after so many, clips get longer",
    )
    group.add_argument(
        "--niter_fix_global",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="at first only the finest network learns",
    )
    group.add_argument("--lr", type=float, default=0.0002, help="learning rate of Adam")
    group.add_argument("--beta1", type=float, default=0.5, help="momentum of Adam")
    group.add_argument(
        "--TTUR",
        action="store_true",
        help="two learning rates: half for G, twice for D, no momentum",
    )


def add_clip_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clips")
    group.add_argument(
        "--n_frames_total", type=int, default=30, help="frames generated of a clip, at first"
    )
    group.add_argument(
        "--max_frames_per_gpu", type=int, default=1, help="frames of a window on a GPU"
    )
    group.add_argument(
        "--max_frames_backpropagate",
        type=int,
        default=1,
        help="frames a gradient passes back through",
    )
    group.add_argument(
        "--max_t_step", type=int, default=1, help="largest spacing of a clip's frames"
    )
    group.add_argument(
        "--clips_per_epoch",
        type=int,
        metavar="N",
        help="clips of an epoch, for little data; default: one from each sequence (poses: one from "
        "each possible start)",
    )


def add_discriminator_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("discriminators")
    group.add_argument("--num_D", type=int, default=2, help="scales of each")
    group.add_argument("--n_layers_D", type=int, default=3, help="layers of each scale")
    group.add_argument("--n_frames_D", type=int, default=3, help="frames that a temporal one sees")
    group.add_argument(
        "--n_scales_temporal", type=int, default=3, help="temporal ones, each striding further"
    )
    group.add_argument("--sparse_D", action="store_true", help="temporal groups without overlap")
    group.add_argument("--pool_size", type=int, default=1, help="accepted, without effect")


def add_loss_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("losses")
    group.add_argument(
        "--gan_mode", default="ls", choices=["ls", "original", "hinge"], help="adversarial loss"
    )
    group.add_argument(
        "--lambda_feat", type=float, default=10.0, help="weight of feature matching and VGG"
    )
    group.add_argument("--lambda_F", type=float, default=10.0, help="weight of the flow loss")
    group.add_argument("--lambda_T", type=float, default=10.0, help="weight of the warping losses")
    group.add_argument("--no_ganFeat", action="store_true", help="no feature matching")
    group.add_argument("--no_vgg", action="store_true", help="no perceptual loss")
    group.add_argument(
        "--vgg_weights", type=Path, metavar="PATH", help="VGG19's weights; default: torchvision's"
    )


def add_distillation_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a smaller network")
    group.add_argument(
        "--distill_from",
        type=Path,
        metavar="DIR",
        help="the folder of a trained run, whose generator paints every window too; this run's, with "
        "its own --ngf, --n_blocks and --n_downsample_G, learns from that beside the real images",
    )
    group.add_argument(
        "--lambda_distill", type=float, default=10.0, help="weight of what the teacher's images ask"
    )


def add_flow_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("reference flow")
    group.add_argument(
        "--flow_net",
        default="auto",
        choices=["auto", "flownet2", "raft", "dis", "none"],
        help="auto: flownet2 if its file is there, else raft if its weights are cached, else dis",
    )
    group.add_argument(
        "--flownet2_checkpoint",
        type=Path,
        metavar="PATH",
        default=Path("models/flownet2_pytorch/FlowNet2_checkpoint.pth.tar"),
    )
    group.add_argument(
        "--raft_weights",
        type=Path,
        metavar="PATH",
        help="default: torchvision's, if they are cached",
    )
    group.add_argument(
        "--flow_cache",
        type=Path,
        metavar="DIR",
        help="keep the flow of untransformed images here, and estimate it once, not every epoch",
    )


def add_stability_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("stability (all off by default)")
    group.add_argument(
        "--ema",
        type=float,
        metavar="STEPS",
        help="keep a running average of the generator too, with this half-life: *_net_G0_ema.pth, ...",
    )
    group.add_argument(
        "--grad_clip",
        type=float,
        metavar="NORM",
        help="shorten each player's gradient to this length",
    )
    group.add_argument(
        "--r1",
        type=float,
        default=0.0,
        metavar="WEIGHT",
        help="penalise discriminators that are steep at real inputs; costs a second pass of each",
    )
    group.add_argument(
        "--spectral_norm",
        action="store_true",
        help="bound the gain of the discriminators' convolutions; their files get other keys",
    )


def add_speed_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speed")
    group.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile generators, discriminators and VGG, each at its first step and at the first "
        "of another size: waits of up to minutes (which --dry_run counts too), then, on a GPU, "
        "faster steps; on a CPU usually slower than without; the penalty of --r1 stays plain; "
        "where there is no compiler this is said and all run as they are; "
        "TORCHINDUCTOR_CACHE_DIR: what is kept for the next run",
    )


def add_scaling_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("memory and several processes")
    group.add_argument(
        "--checkpoint_activations",
        action="store_true",
        help="compute the generator's activations again on the way back instead of keeping them",
    )
    group.add_argument(
        "--sync_bn",
        action="store_true",
        help="with torchrun on GPUs: batch norms share their statistics between processes",
    )
    group.add_argument(
        "--dry_run",
        action="store_true",
        help="make a few real steps, print their memory and time, and end without saving",
    )
