"""What more GPUs should give, from counted work and assumed speeds: `python -m scripts.benchmarks.cluster_model FLAGS`.

FLAGS are those of train.py (the published street at 512 pixels: docs/scaling.md). Nothing is computed but sizes.
"""

from __future__ import annotations

import sys
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

ASSUMED_FLOPS_PER_SECOND = 50e12  # ASSUMED: floating-point operations a second that a large GPU keeps up in TF32 convolutions
ASSUMED_LINK_BANDWIDTHS = {
    8: 200e9,
    64: 40e9,
    512: 30e9,
}  # ASSUMED: bytes a second of the slowest link: NVLink; 400 Gb/s; the same, busy


@dataclass(frozen=True)
class FrameFlops:
    """Of one frame of one clip. weights: numbers whose gradients travel. generator, discriminators: floating-point
    operations forward. back: of the way back through both, and through the perceptual loss with its own forward."""

    n_weights: int
    generator: float
    discriminators: float
    backward: float

    @property
    def total(self) -> float:
        return self.generator + self.discriminators + self.backward


def count_frame_flops(options: TrainOptions, height: int, width: int) -> FrameFlops:
    """Of networks with one spatial scale, on images of (height, width); by torch's own counting, without a number."""
    with FakeTensorMode(), reference_ops():  # whose operations torch knows how to count
        networks = build_models(
            configs.generator_config(options),
            configs.discriminator_config(options),
            configs.temporal_config(options),
            has_face_discriminator=False,
        )
        assert (image := networks.netD) is not None
        seen = configs.generator_config(options).condition_channels
        condition = torch.empty(1, options.n_frames_G, seen, height, width)
        past = torch.empty(1, options.n_frames_G - 1, 3, height, width)
        images = torch.empty(1, seen + 3, height, width)
        group = torch.empty(1, options.n_frames_D * 3 + (options.n_frames_D - 1) * 2, height, width)
        generator = count_flops(lambda: networks.netG[0](condition, past, False))
        # the image discriminator runs on the real, the generated and the raw image
        judging = 3 * count_flops(lambda: image(images))
        for netD_T in networks.netD_T:
            judging += 2 * count_flops(partial(netD_T, group))
        looked_at = (
            0.0
            if options.no_vgg
            else count_flops(lambda: PerceptualLoss()(images[:, :3], images[:, :3])) / 2
        )
    weights = sum(
        weight.numel()
        for network in networks.named_trainable_networks().values()
        for weight in network.parameters()
    )
    return FrameFlops(
        weights, generator, judging, backward=2 * (generator + judging) + (3 + 2) * looked_at
    )


def count_flops(function: Callable[[], object]) -> float:
    """Floating-point operations; a multiplication and its addition are two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    return float(counter.get_total_flops())


def all_reduce_seconds(n_weights: int, world_size: int, bandwidth: float) -> float:
    """Seconds in which all processes average float32 gradients in a ring: each sends nearly all of them twice."""
    return 2 * (world_size - 1) / world_size * 4 * n_weights / bandwidth


def scaling_efficiency(
    step_seconds: float, n_weights: int, world_size: int, bandwidth: float
) -> float:
    """Clips a second of so many processes, over what they would do without ever talking. step: seconds of one alone."""
    return step_seconds / (step_seconds + all_reduce_seconds(n_weights, world_size, bandwidth))


def chain_speedup(
    flops: FrameFlops, n_generator_devices: int, n_discriminator_devices: int
) -> float:
    """How much faster a frame is done by `--n_gpus_gen`: forward each waits for the one before, back (with
    --max_frames_backpropagate 1) none does."""
    alone = flops.total
    return alone / (
        flops.generator
        + flops.backward / n_generator_devices
        + flops.discriminators / n_discriminator_devices
    )


def min_step_seconds(n_weights: int, bandwidth: float, min_efficiency: float = 0.5) -> float:
    """The step in seconds below which even endlessly many processes keep less than `kept` of their speed."""
    return min_efficiency / (1 - min_efficiency) * 2 * 4 * n_weights / bandwidth


def format_cluster_report(
    flops: FrameFlops, flops_per_second: float = ASSUMED_FLOPS_PER_SECOND
) -> str:
    """As docs/scaling.md has it."""
    step = flops.total / flops_per_second
    rows = [
        f"{flops.n_weights / 1e6:.0f} million weights; a frame is {flops.total / 1e12:.1f} T operations: generator "
        f"{flops.generator / flops.total:.0%}, discriminators {flops.discriminators / flops.total:.0%}, the way back "
        f"and VGG {flops.backward / flops.total:.0%}; {step:.2f} s at {flops_per_second / 1e12:.0f} T a second (assumed)",
        "",
        "| GPUs | slowest link (assumed) | gradients | clips a second, of ideal | half is lost if a step takes |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {gpus} | {link / 1e9:.0f} GB/s | {all_reduce_seconds(flops.n_weights, gpus, link) * 1000:.0f} ms "
        f"| {scaling_efficiency(step, flops.n_weights, gpus, link):.2f} | {min_step_seconds(flops.n_weights, link) * 1000:.0f} ms |"
        for gpus, link in ASSUMED_LINK_BANDWIDTHS.items()
    ]
    rows += ["", "| one clip: generate + discriminate | a frame is done faster by |", "|---|---|"]
    rows += [
        f"| {g} + {d} | {chain_speedup(flops, g, d):.1f} |"
        for g, d in ((1, 1), (2, 1), (6, 1), (10**6, 10**6))
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    options = parse_train(sys.argv[1:])
    print(
        format_cluster_report(count_frame_flops(options, options.loadSize // 2, options.loadSize))
    )
