"""What more GPUs should give, from counted work and assumed speeds: `python -m scripts.cluster.scaling_model FLAGS`.

FLAGS are those of train.py (the published street at 512 pixels: docs/scaling.md). Nothing is computed but sizes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from models.fast.choice import plainly
from models.networks import build_networks
from models.perceptual import PerceptualLoss
from options import configs
from options.parsing import Options
from options.train import parse_train

RATE = 50e12  # ASSUMED: floating-point operations a second that a large GPU keeps up in TF32 convolutions
LINKS = {8: 200e9, 64: 40e9, 512: 30e9}  # ASSUMED: bytes a second of the slowest link: NVLink; 400 Gb/s; the same, busy


@dataclass(frozen=True)
class Work:
    """Of one frame of one clip. weights: numbers whose gradients travel. generator, discriminators: floating-point
    operations forward. back: of the way back through both, and through the perceptual loss with its own forward."""

    weights: int
    generator: float
    discriminators: float
    back: float

    @property
    def total(self) -> float:
        return self.generator + self.discriminators + self.back


def count_work(options: Options, height: int, width: int) -> Work:
    """Of networks with one spatial scale, on pictures of (height, width); by torch's own counting, without a number."""
    with FakeTensorMode(), plainly():  # whose operations torch knows how to count
        networks = build_networks(configs.generator(options), configs.discriminator(options), configs.temporal(options),
                                  face=False)
        assert (image := networks.image) is not None
        seen = configs.generator(options).condition_channels
        condition = torch.empty(1, options.n_frames_G, seen, height, width)
        past = torch.empty(1, options.n_frames_G - 1, 3, height, width)
        pictures = torch.empty(1, seen + 3, height, width)
        group = torch.empty(1, options.n_frames_D * 3 + (options.n_frames_D - 1) * 2, height, width)
        generator = counted(lambda: networks.generator[0](condition, past, False))
        judging = 3 * counted(lambda: image(pictures)) + sum(  # the real one, the picture, the raw one
            2 * counted(lambda judge=judge: judge(group)) for judge in networks.temporal)  # type: ignore[misc]
        looked_at = 0.0 if options.no_vgg else counted(lambda: PerceptualLoss()(pictures[:, :3], pictures[:, :3])) / 2
    weights = sum(weight.numel() for network in networks.learning().values() for weight in network.parameters())
    return Work(weights, generator, judging, back=2 * (generator + judging) + (3 + 2) * looked_at)


def counted(run: Callable[[], object]) -> float:
    """Floating-point operations; a multiplication and its addition are two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return float(counter.get_total_flops())


def exchange(weights: int, processes: int, link: float) -> float:
    """Seconds in which all processes average float32 gradients in a ring: each sends nearly all of them twice."""
    return 2 * (processes - 1) / processes * 4 * weights / link


def efficiency(step: float, weights: int, processes: int, link: float) -> float:
    """Clips a second of so many processes, over what they would do without ever talking. step: seconds of one alone."""
    return step / (step + exchange(weights, processes, link))


def chain_speedup(work: Work, generators: int, judges: int) -> float:
    """How much faster a frame is done by `--n_gpus_gen`: forward each waits for the one before, back (with
    --max_frames_backpropagate 1) none does."""
    alone = work.total
    return alone / (work.generator + work.back / generators + work.discriminators / judges)


def saturated(weights: int, link: float, kept: float = 0.5) -> float:
    """The step in seconds below which even endlessly many processes keep less than `kept` of their speed."""
    return kept / (1 - kept) * 2 * 4 * weights / link


def report(work: Work, rate: float = RATE) -> str:
    """As docs/scaling.md has it."""
    step = work.total / rate
    rows = [f"{work.weights / 1e6:.0f} million weights; a frame is {work.total / 1e12:.1f} T operations: generator "
            f"{work.generator / work.total:.0%}, discriminators {work.discriminators / work.total:.0%}, the way back "
            f"and VGG {work.back / work.total:.0%}; {step:.2f} s at {rate / 1e12:.0f} T a second (assumed)", "",
            "| GPUs | slowest link (assumed) | gradients | clips a second, of ideal | half is lost if a step takes |",
            "|---|---|---|---|---|"]
    rows += [f"| {gpus} | {link / 1e9:.0f} GB/s | {exchange(work.weights, gpus, link) * 1000:.0f} ms "
             f"| {efficiency(step, work.weights, gpus, link):.2f} | {saturated(work.weights, link) * 1000:.0f} ms |"
             for gpus, link in LINKS.items()]
    rows += ["", "| one clip: generate + discriminate | a frame is done faster by |", "|---|---|"]
    rows += [f"| {g} + {d} | {chain_speedup(work, g, d):.1f} |" for g, d in ((1, 1), (2, 1), (6, 1), (10**6, 10**6))]
    return "\n".join(rows)


if __name__ == "__main__":
    options = parse_train(sys.argv[1:])
    print(report(count_work(options, options.loadSize // 2, options.loadSize)))
