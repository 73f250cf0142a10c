"""Expected speed on more GPUs, from counted operations and assumed rates.

Usage: `python -m scripts.benchmarks.cluster_model FLAGS`, with flags of train.py. Only shapes are
computed, so it runs in seconds. docs/multi-gpu.md shows the result for the published street network.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from models.losses.perceptual import PerceptualLoss
from models.networks.collection import build_models
from models.ops.dispatch import reference_ops
from options import configs
from options.schema import TrainOptions
from options.train import parse_train
from scripts.benchmarks.report import format_markdown_table
from util.errors import exit_on_user_error

# ASSUMED: floating-point operations per second of a large GPU in TF32 convolutions
ASSUMED_FLOPS_PER_SECOND = 50e12
# ASSUMED: bytes per second of the slowest link, by number of GPUs
ASSUMED_LINK_BANDWIDTHS = {
    8: 200e9,  # NVLink
    64: 40e9,  # 400 Gb/s network
    512: 30e9,  # the same network under load
}
_DEVICE_SPLITS = ((1, 1), (2, 1), (6, 1), (10**6, 10**6))  # generator, discriminator devices


@dataclass(frozen=True)
class FrameFlops:
    """Floating-point operations of one frame of one clip.

    Attributes:
        n_weights: Number of parameters whose gradients are reduced.
        generator: Operations of the generator's forward pass.
        discriminators: Operations of the discriminators' forward passes.
        backward: Operations of both backward passes, and of the perceptual loss in both directions.
    """

    n_weights: int
    generator: float
    discriminators: float
    backward: float

    @property
    def total(self) -> float:
        """Operations of all parts."""
        return self.generator + self.discriminators + self.backward


def count_frame_flops(options: TrainOptions, height: int, width: int) -> FrameFlops:
    """Count the operations of one frame, with one spatial scale, without computing anything.

    The reference operations are used, because torch's counter does not know the optimized ones.
    """
    condition_channels = configs.generator_config(options).condition_channels
    temporal_channels = options.n_frames_D * 3 + (options.n_frames_D - 1) * 2
    with FakeTensorMode(), reference_ops():
        networks = build_models(
            configs.generator_config(options),
            configs.discriminator_config(options),
            configs.temporal_config(options),
            has_face_discriminator=False,
        )
        netD = networks.netD
        assert netD is not None
        condition = torch.empty(1, options.n_frames_G, condition_channels, height, width)
        history = torch.empty(1, options.n_frames_G - 1, 3, height, width)
        netD_input = torch.empty(1, condition_channels + 3, height, width)
        netD_T_input = torch.empty(1, temporal_channels, height, width)
        generator = count_flops(lambda: networks.netG[0](condition, history, False))
        # The image discriminator runs on the real, the generated and the raw image,
        # the temporal ones on real and generated frames.
        discriminators = 3 * count_flops(lambda: netD(netD_input))
        for netD_T in networks.netD_T:
            discriminators += 2 * count_flops(partial(netD_T, netD_T_input))
        vgg = 0.0
        if not options.no_vgg:
            image = netD_input[:, :3]
            vgg = count_flops(lambda: PerceptualLoss()(image, image)) / 2
    n_weights = sum(
        parameter.numel()
        for network in networks.named_trainable_networks().values()
        for parameter in network.parameters()
    )
    # A backward pass costs two forward passes. VGG runs forward on the real, the generated and
    # the raw image and backward, to its input only, on the last two.
    backward = 2 * (generator + discriminators) + (3 + 2) * vgg
    return FrameFlops(n_weights, generator, discriminators, backward)


def count_flops(function: Callable[[], object]) -> float:
    """Count the floating-point operations of a call; a multiply-add counts as two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    return float(counter.get_total_flops())


def all_reduce_seconds(n_weights: int, world_size: int, bandwidth: float) -> float:
    """Return the seconds of a ring all-reduce of float32 gradients, which sends nearly all twice."""
    return 2 * (world_size - 1) / world_size * 4 * n_weights / bandwidth


def scaling_efficiency(
    step_seconds: float, n_weights: int, world_size: int, bandwidth: float
) -> float:
    """Return the throughput of `world_size` processes relative to the one without communication.

    Args:
        step_seconds: Seconds of a step of one process alone.
        n_weights: Number of parameters whose gradients are reduced.
        world_size: Number of processes.
        bandwidth: Bytes per second of the slowest link.
    """
    return step_seconds / (step_seconds + all_reduce_seconds(n_weights, world_size, bandwidth))


def chain_speedup(
    flops: FrameFlops, n_generator_devices: int, n_discriminator_devices: int
) -> float:
    """Return how much faster `--n_gpus_gen` processes a frame than one device.

    In the forward pass, each frame waits for the one before. In the backward pass, with
    `--max_frames_backpropagate 1`, frames are independent.
    """
    chained = (
        flops.generator
        + flops.backward / n_generator_devices
        + flops.discriminators / n_discriminator_devices
    )
    return flops.total / chained


def min_step_seconds(n_weights: int, bandwidth: float, min_efficiency: float = 0.5) -> float:
    """Return the shortest step at which any number of processes keeps `min_efficiency`."""
    return min_efficiency / (1 - min_efficiency) * 2 * 4 * n_weights / bandwidth


def format_cluster_report(
    flops: FrameFlops, flops_per_second: float = ASSUMED_FLOPS_PER_SECOND
) -> str:
    """Format the report that docs/multi-gpu.md shows."""
    step = flops.total / flops_per_second
    summary = (
        f"{flops.n_weights / 1e6:.0f} million weights; {flops.total / 1e12:.1f} TFLOP per frame: "
        f"generator {flops.generator / flops.total:.0%}, "
        f"discriminators {flops.discriminators / flops.total:.0%}, "
        f"backward pass and VGG {flops.backward / flops.total:.0%}; "
        f"{step:.2f} s at {flops_per_second / 1e12:.0f} TFLOP/s (assumed)"
    )
    n_weights = flops.n_weights
    processes = [
        (
            str(n_gpus),
            f"{bandwidth / 1e9:.0f} GB/s",
            f"{all_reduce_seconds(n_weights, n_gpus, bandwidth) * 1000:.0f} ms",
            f"{scaling_efficiency(step, n_weights, n_gpus, bandwidth):.2f}",
            f"{min_step_seconds(n_weights, bandwidth) * 1000:.0f} ms",
        )
        for n_gpus, bandwidth in ASSUMED_LINK_BANDWIDTHS.items()
    ]
    chains = [(f"{g} + {d}", f"{chain_speedup(flops, g, d):.1f}") for g, d in _DEVICE_SPLITS]
    process_table = format_markdown_table(
        (
            "GPUs",
            "slowest link (assumed)",
            "all-reduce",
            "efficiency",
            "50 % efficiency at a step of",
        ),
        processes,
    )
    chain_table = format_markdown_table(
        ("one clip: generator + discriminator devices", "speedup per frame"), chains
    )
    return f"{summary}\n\n{process_table}\n\n{chain_table}"


def main() -> None:
    """Print the report for the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _, flags = parser.parse_known_args()
    options = parse_train(flags)
    flops = count_frame_flops(options, options.loadSize // 2, options.loadSize)
    print(format_cluster_report(flops))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
