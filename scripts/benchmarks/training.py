"""Training steps by the program and by the plain way, from the same weights, on the same window.

The window stands late in a clip, where every temporal scale has a group: the memory before it is filled from the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from data.dataset import ClipDataset
from models.flow.estimator import FlowEstimator, ZeroFlowEstimator
from models.losses.perceptual import PerceptualLoss
from models.losses.temporal_groups import BufferedFrame, FrameBuffer, group_frames
from models.networks.collection import build_optimizers
from models.networks.rollout import History
from models.training.device_groups import build_parallel_forward
from models.training.forward import ClipState
from models.training.schedule import compute_epoch_settings
from models.training.trainer import Trainer
from options import configs
from options.build import build_training_data
from options.registry import MODEL_REGISTRY, ModelSpec
from options.schema import TrainOptions
from options.train import parse_train
from scripts.benchmarks.case import FrameSize, make_mode_flags, stabilize_random_weights
from scripts.benchmarks.reference_implementation import ReferenceTrainer, build_reference_forward
from scripts.benchmarks.report import REFERENCE_NAME, BenchmarkRow, make_row
from scripts.benchmarks.timing import DeviceLimits, time_interleaved
from util.clip import Clip
from util.distributed import DeviceSetup, setup_devices

OPTIMIZED_NAME = "float32"
WARMUP_ROUNDS = 5  # rounds before the clock counts: until then the process still grows, and new memory costs time
_TEST_ONLY_FLAGS = {"--use_real_img"}  # what training does not ask


def make_training_options(
    mode: str, size: FrameSize, ngf: int, data: Path, extra_flags: Sequence[str] = ()
) -> TrainOptions:
    flags = [flag for flag in make_mode_flags(mode, size) if flag not in _TEST_ONLY_FLAGS]
    return parse_train(
        [
            *flags,
            f"--ngf={ngf}",
            f"--dataroot={data}",
            "--n_frames_total=1",
            "--no_flip",
            *extra_flags,
        ]
    )


@dataclass(frozen=True)
class BenchmarkStep:
    """One window of a trainer, to be repeated.

    Attributes:
        trainer: The trainer.
        clip: A clip of one window.
        state: The state before the window.
    """

    trainer: Trainer
    clip: Clip
    state: ClipState

    def __call__(self) -> dict[str, float]:
        """Train on the window; return its losses."""
        schedule = self.trainer.config.schedule
        window, *_ = self.clip.split_into_windows(schedule.n_frames_G)
        settings = compute_epoch_settings(1, schedule)
        output = self.trainer.forward(window, [self.state], settings)
        losses, _ = self.trainer.optimize(output, settings)
        return losses


def build_benchmark_step(
    opt: TrainOptions,
    spec: ModelSpec,
    trainer_class: type[Trainer],
    device_setup: DeviceSetup,
    flow_estimator: FlowEstimator,
    clip: Clip,
    start: int,
) -> BenchmarkStep:
    """Build a step with random weights: all steps of the same options start with the same ones."""
    torch.manual_seed(opt.seed)
    networks = spec.build_networks(opt).to(device_setup.device)
    perceptual_loss = PerceptualLoss().to(device_setup.device)
    stabilize_random_weights(networks.netG)
    condition_to_image = configs.build_frame_reader(opt).condition_to_image
    forward = build_parallel_forward(
        device_setup,
        networks,
        perceptual_loss,
        lambda _: flow_estimator,
        lambda group: spec.build_forward(opt, group, condition_to_image),
    )
    optimizers = device_setup.wrap_optimizers(
        build_optimizers(networks, configs.optimizer_config(opt)), None
    )
    schedule = configs.schedule_config(opt, max_sequence_length=start + 9, n_gpus_gen=1)
    config = configs.trainer_config(opt, schedule, steps_per_epoch=1)
    trainer = trainer_class(
        networks, optimizers, forward, device_setup, config, save=lambda run: None
    )
    return BenchmarkStep(trainer, clip, make_filled_state(opt, clip, start))


def make_filled_state(opt: TrainOptions, clip: Clip, start: int) -> ClipState:
    """Return a state as if `start` frames had been generated, each equal to a real one."""
    images, config = clip.image, configs.temporal_config(opt)
    assert images is not None
    zero_flow = images.new_zeros(len(images), 2, *images.shape[-2:])
    frame_buffer = FrameBuffer.empty(config)
    for number in range(start):
        image = images[:, number % images.shape[1]]
        frame = BufferedFrame(image, image, zero_flow)
        _, frame_buffer = group_frames(frame_buffer, {number: frame}, config)
    first_images = images[:, : opt.n_frames_G - 1]
    history = History.from_first_images(first_images, opt.n_scales_spatial)
    return ClipState(history, frame_buffer, n_generated=start)


def read_first_clip(options: TrainOptions, placement: DeviceSetup) -> Clip:
    """The first one of the first epoch."""
    footage = build_training_data(options, placement)
    return ClipDataset(footage.frame_reader, footage.sequences, configs.transform_config(options))[
        footage.epoch_batches(1)[0][0]
    ]


def measure_training(
    options: TrainOptions,
    rounds: int,
    limits: DeviceLimits,
    flow_estimator: FlowEstimator | None = None,
) -> list[BenchmarkRow]:
    """teacher: estimates the plain way's reference flow at every step, while the program finds it in the cache; None:
    neither has any."""
    placement = setup_devices(configs.device_config(options))
    clip, temporal = read_first_clip(options, placement), configs.temporal_config(options)
    start = temporal.n_frames_D ** max(temporal.n_scales - 1, 0) * (temporal.n_frames_D - 1)
    clip = clip.to(placement.device)
    cached = (
        clip if flow_estimator is None else add_cached_flow(clip, start, options, flow_estimator)
    )
    spec = MODEL_REGISTRY[options.model]
    plain = build_benchmark_step(
        options,
        replace(spec, build_forward=build_reference_forward),
        ReferenceTrainer,
        placement,
        flow_estimator or ZeroFlowEstimator(),
        clip,
        start,
    )
    ours = build_benchmark_step(
        options,
        spec,
        Trainer,
        placement,
        ZeroFlowEstimator(),
        cached,
        start,
    )
    steps = {REFERENCE_NAME: plain, OPTIMIZED_NAME: ours}
    first = {way: run_and_count_macs(step) for way, step in steps.items()}
    ways = {way: repeat_step(step) for way, step in steps.items()}
    time_interleaved(ways, WARMUP_ROUNDS, placement.device)
    taken = time_interleaved(ways, rounds, placement.device, is_warm=True)
    expected, macs = (
        first[REFERENCE_NAME][0],
        first[REFERENCE_NAME][1],
    )  # what was saved counts as done
    return [
        make_row(
            way,
            taken[way],
            taken[REFERENCE_NAME],
            macs,
            limits.gmacs["off"],
            max_relative_difference(losses, expected),
        )
        for way, (losses, _) in first.items()
    ]


def add_cached_flow(
    clip: Clip, start: int, options: TrainOptions, flow_estimator: FlowEstimator
) -> Clip:
    """With what the cache would hold: the flow that the window's frame and its groups will ask for."""
    images, given, tD = clip.image, options.n_frames_G - 1, options.n_frames_D
    assert images is not None
    neighbours = [
        (start - i * stride, start - (i + 1) * stride)
        for i in range(tD - 1)
        for stride in (tD**scale for scale in range(1, options.n_scales_temporal))
    ]
    seen = {(start, start - 1): (images[:, -1], images[:, -2])} | {
        (a, b): (images[:, -1 if a == start else a % len(clip)], images[:, b % len(clip)])
        for a, b in neighbours
    }
    flows = [flow_estimator.estimate(*pair) for pair in seen.values()]
    return replace(
        clip,
        flow_pairs=tuple((a + given, b + given) for a, b in seen),
        pair_flow=torch.stack(flows, dim=1),
    )


def repeat_step(step: BenchmarkStep) -> Callable[[], Iterator[dict[str, float]]]:
    """One a round."""
    return lambda: (step() for _ in range(1))


def run_and_count_macs(step: BenchmarkStep) -> tuple[dict[str, float], int]:
    """A step, and how many multiply-accumulates it made."""
    with FlopCounterMode(display=False) as counter:
        trained = step()
    return trained, counter.get_total_flops() // 2


def max_relative_difference(
    losses: Mapping[str, float], reference_losses: Mapping[str, float]
) -> float:
    """Of the losses of a step from the same weights, relative."""
    assert set(losses) == set(reference_losses)
    return max(
        abs(losses[name] - value) / max(abs(value), 1e-6)
        for name, value in reference_losses.items()
    )
