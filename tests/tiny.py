"""Runs that are small enough for any test, built from flags as real ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.flow.estimator import FlowEstimator, ZeroFlowEstimator
from models.networks.collection import Vid2VidModels, build_models, build_optimizers
from models.ops.install import install_optimized_ops
from models.training.device_groups import ParallelForward, build_parallel_forward
from models.training.trainer import Trainer
from options import configs
from options.parsing import format_opt_file
from options.registry import MODEL_REGISTRY
from options.schema import TrainOptions
from options.train import parse_train
from tests.parity_weights import make_random_weights
from util.clip import Clip
from util.distributed import setup_devices
from util.io.state_dict import save_files_atomically

TINY_FLAGS = (
    "--ngf 8 --ndf 4 --n_downsample_G 2 --n_blocks 2 --n_blocks_local 1 --n_layers_D 2 --no_vgg "
    "--n_scales_temporal 1"
)


def tiny_options(flags: str = "") -> TrainOptions:
    return parse_train([*TINY_FLAGS.split(), *flags.split()])


def tiny_networks(options: TrainOptions, seed: int = 0) -> Vid2VidModels:
    """Build networks with random weights, large enough for frames to depend on each other."""
    networks = build_models(
        configs.generator_config(options),
        configs.discriminator_config(options),
        configs.temporal_config(options),
        options.add_face_disc,
        configs.encoder_config(options),
        options.ema is not None,
    )
    for name, network in networks.named_networks().items():
        install_optimized_ops(network)
        shapes = [
            (f"{name}.{key}", tuple(value.shape)) for key, value in network.state_dict().items()
        ]
        weights = make_random_weights(shapes, seed)
        network.load_state_dict(
            {key.removeprefix(f"{name}."): value for key, value in weights.items()}
        )
    return networks


def copy_state_dicts(networks: Vid2VidModels) -> dict[str, dict[str, Tensor]]:
    """Return copies of the state dicts, by network."""
    return {
        name: {key: value.clone() for key, value in network.state_dict().items()}
        for name, network in networks.named_networks().items()
    }


def copy_parameters(networks: Vid2VidModels) -> dict[str, list[Tensor]]:
    """Return copies of the parameters, by network."""
    return {
        name: [parameter.detach().clone() for parameter in network.parameters()]
        for name, network in networks.named_networks().items()
    }


def is_bitwise_equal(a: object, b: object) -> bool:
    """Compare values; tensors bit by bit, and dicts (with their order), lists and tuples recursively."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        if not isinstance(b, dict) or list(a) != list(b):
            return False
        return all(is_bitwise_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        if not isinstance(b, list | tuple) or len(a) != len(b):
            return False
        return all(map(is_bitwise_equal, a, b))
    return a == b


def save_tiny_run(folder: Path, flags: str) -> tuple[TrainOptions, nn.ModuleList]:
    """Write the files of a run that synthesis needs; return its options and generators."""
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


def tiny_forward(
    options: TrainOptions,
    networks: Vid2VidModels,
    flow_estimator: FlowEstimator | None = None,
    **kwargs: Any,
) -> ParallelForward:
    """Return the forward pass of a run; kwargs go to `build_parallel_forward`."""
    condition_to_image = configs.build_frame_reader(options).condition_to_image
    return build_parallel_forward(
        setup_devices(configs.device_config(options)),
        networks,
        perceptual_loss=None,
        build_flow_estimator_on=lambda _: flow_estimator or ZeroFlowEstimator(),
        build_forward=lambda group: MODEL_REGISTRY[options.model].build_forward(
            options, group, condition_to_image
        ),
        **kwargs,
    )


def tiny_trainer(
    options: TrainOptions,
    networks: Vid2VidModels,
    forward: ParallelForward | None = None,
    optimizers: dict[str, Optimizer] | None = None,
    max_sequence_length: int = 100,
) -> Trainer:
    """Return a trainer without callbacks, by default without reference flow."""
    device_setup = setup_devices(configs.device_config(options))
    optimizers = optimizers or build_optimizers(networks, configs.optimizer_config(options))
    schedule = configs.schedule_config(options, max_sequence_length, device_setup.n_gpus_gen)
    return Trainer(
        networks,
        device_setup.wrap_optimizers(optimizers, options.grad_clip),
        forward or tiny_forward(options, networks),
        device_setup,
        configs.trainer_config(options, schedule, steps_per_epoch=1),
        save=lambda run: None,
    )


def street_clip(
    n_frames: int, height: int, width: int, load: int = 1, batch: int = 1, label_nc: int = 5
) -> Clip:
    """Return a clip with random labels and instance ids in blocks of 4x4, and noise images."""
    rng = torch.Generator().manual_seed(0)

    def random_blocks(n_values: int) -> Tensor:
        size = (batch, n_frames, 1, -(-height // 4), -(-width // 4))
        coarse = torch.randint(0, n_values, size, generator=rng)
        return coarse.repeat_interleave(4, -1).repeat_interleave(4, -2)[..., :height, :width]

    image = torch.rand(batch, n_frames, 3, height, width, generator=rng) * 2 - 1
    names = tuple(tuple(f"s{b}/{t}" for t in range(n_frames)) for b in range(batch))
    condition = random_blocks(label_nc).byte()
    instance = random_blocks(3).int()
    return Clip(condition, image, instance, names, load)


def split_frames(clip: Clip) -> list[Clip]:
    """Return the frames of a clip, each as a clip with T = 1."""
    return [clip.slice_frames(t, t + 1) for t in range(len(clip))]
