"""Runs that are small enough for any test, made from flags as real ones are."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.flow.reference import NoFlow
from models.networks import Networks, build_networks, build_optimizers
from models.teams import build_teams
from models.trainer import Trainer
from options import configs
from options.parsing import Options, listing
from options.train import parse_train
from tests.parity_weights import draw_weights
from util.checkpoint import save_set
from util.clip import Clip
from util.journal import Journal
from util.log import LossLog, NoBoard
from util.placement import place

SMALL = ("--ngf 8 --ndf 4 --n_downsample_G 2 --n_blocks 2 --n_blocks_local 1 --n_layers_D 2 --no_vgg "
         "--n_scales_temporal 1")


def tiny_options(flags: str = "") -> Options:
    return parse_train([*SMALL.split(), *flags.split()])


def tiny_networks(options: Options, seed: int = 0) -> Networks:
    """With weights large enough for frames to depend on each other; of every network its own."""
    networks = build_networks(configs.generator(options), configs.discriminator(options), configs.temporal(options),
                              options.add_face_disc, configs.encoder(options), options.ema is not None)
    for name, network in networks.named().items():
        shapes = [(f"{name}.{key}", tuple(value.shape)) for key, value in network.state_dict().items()]
        drawn = draw_weights(shapes, seed)
        network.load_state_dict({key.removeprefix(f"{name}."): value for key, value in drawn.items()})
    return networks


def saved(folder: Path, flags: str) -> tuple[Options, nn.ModuleList]:
    """A run of `train.py` as far as synthesis needs its files; its options and networks."""
    options = tiny_options(f"{flags} --checkpoints_dir {folder.parent} --name {folder.name}")
    networks = tiny_networks(options).generator
    save_set(folder, {f"latest_net_G{scale}.pth": network.state_dict() for scale, network in enumerate(networks)})
    (folder / "opt.txt").write_text(listing(options))
    configs.blueprint(options).save(folder)
    return options, networks


def tiny_trainer(options: Options, networks: Networks) -> Trainer:
    """Without a reference flow, and with nobody to tell."""
    placement = place(configs.placement(options))
    optimizers = placement.steppers(build_optimizers(networks, configs.optimizer(options)), options.grad_clip)
    schedule = configs.schedule(options, longest=100, n_gpus_gen=placement.n_gpus_gen)
    return Trainer(
        networks, optimizers, build_teams(placement, networks, None, lambda _: NoFlow()), placement,
        config=configs.trainer(options, schedule, steps_per_epoch=1),
        journal=Journal(LossLog(configs.run_folder(options) / "loss_log.txt"), NoBoard(), None),
        show=configs.domain(options).show)


def street_clip(n_frames: int, height: int, width: int, load: int = 1, batch: int = 1, label_nc: int = 5) -> Clip:
    """Blocks of labels and instances under noise pictures."""
    dice = torch.Generator().manual_seed(0)

    def blocks(most: int) -> torch.Tensor:
        coarse = torch.randint(0, most, (batch, n_frames, 1, -(-height // 4), -(-width // 4)), generator=dice)
        return coarse.repeat_interleave(4, -1).repeat_interleave(4, -2)[..., :height, :width]

    picture = torch.rand(batch, n_frames, 3, height, width, generator=dice) * 2 - 1
    names = tuple(tuple(f"s{b}/{t}" for t in range(n_frames)) for b in range(batch))
    return Clip(blocks(label_nc).byte(), picture, blocks(3).int(), names, load)
