"""Runs that are small enough for any test, made from flags as real ones are."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.flow.estimator import ZeroFlowEstimator
from models.networks.collection import Vid2VidModels, build_models, build_optimizers
from models.training.device_groups import build_parallel_models
from models.training.trainer import Trainer
from options import configs
from options.parsing import Options, format_opt_file
from options.train import parse_train
from tests.parity_weights import make_random_weights
from util.clip import Clip
from util.distributed import setup_devices
from util.io.state_dict import save_files_atomically
from util.log import LossLog, NullLogger
from util.run_logger import RunLogger

TINY_FLAGS = (
    "--ngf 8 --ndf 4 --n_downsample_G 2 --n_blocks 2 --n_blocks_local 1 --n_layers_D 2 --no_vgg "
    "--n_scales_temporal 1"
)


def tiny_options(flags: str = "") -> Options:
    return parse_train([*TINY_FLAGS.split(), *flags.split()])


def tiny_networks(options: Options, seed: int = 0) -> Vid2VidModels:
    """With weights large enough for frames to depend on each other; of every network its own."""
    networks = build_models(
        configs.generator_config(options),
        configs.discriminator_config(options),
        configs.temporal_config(options),
        options.add_face_disc,
        configs.encoder_config(options),
        options.ema is not None,
    )
    for name, network in networks.named_networks().items():
        shapes = [
            (f"{name}.{key}", tuple(value.shape)) for key, value in network.state_dict().items()
        ]
        drawn = make_random_weights(shapes, seed)
        network.load_state_dict(
            {key.removeprefix(f"{name}."): value for key, value in drawn.items()}
        )
    return networks


def save_tiny_run(folder: Path, flags: str) -> tuple[Options, nn.ModuleList]:
    """A run of `train.py` as far as synthesis needs its files; its options and networks."""
    options = tiny_options(f"{flags} --checkpoints_dir {folder.parent} --name {folder.name}")
    networks = tiny_networks(options).netG
    save_files_atomically(
        folder,
        {
            f"latest_net_G{scale}.pth": network.state_dict()
            for scale, network in enumerate(networks)
        },
    )
    (folder / "opt.txt").write_text(format_opt_file(options))
    configs.model_config(options).save(folder)
    return options, networks


def tiny_trainer(options: Options, networks: Vid2VidModels) -> Trainer:
    """Without a reference flow, and with nobody to tell."""
    placement = setup_devices(configs.device_config(options))
    optimizers = placement.wrap_optimizers(
        build_optimizers(networks, configs.optimizer_config(options)), options.grad_clip
    )
    schedule = configs.schedule_config(
        options, max_sequence_length=100, n_gpus_gen=placement.n_gpus_gen
    )
    return Trainer(
        networks,
        optimizers,
        build_parallel_models(placement, networks, None, lambda _: ZeroFlowEstimator()),
        placement,
        config=configs.trainer_config(options, schedule, steps_per_epoch=1),
        logger=RunLogger(LossLog(configs.run_folder(options) / "loss_log.txt"), NullLogger(), None),
        condition_to_image=configs.build_frame_reader(options).condition_to_image,
    )


def street_clip(
    n_frames: int, height: int, width: int, load: int = 1, batch: int = 1, label_nc: int = 5
) -> Clip:
    """Blocks of labels and instances under noise images."""
    dice = torch.Generator().manual_seed(0)

    def blocks(most: int) -> torch.Tensor:
        coarse = torch.randint(
            0, most, (batch, n_frames, 1, -(-height // 4), -(-width // 4)), generator=dice
        )
        return coarse.repeat_interleave(4, -1).repeat_interleave(4, -2)[..., :height, :width]

    image = torch.rand(batch, n_frames, 3, height, width, generator=dice) * 2 - 1
    names = tuple(tuple(f"s{b}/{t}" for t in range(n_frames)) for b in range(batch))
    return Clip(blocks(label_nc).byte(), image, blocks(3).int(), names, load)


def split_frames(clip: Clip) -> list[Clip]:
    """Return the frames of a clip, each as a clip with T = 1."""
    return [clip.slice_frames(t, t + 1) for t in range(len(clip))]
