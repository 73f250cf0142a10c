"""Speed of a training step: the program and the reference implementation on the same window.

Both start from the same weights. The window is late in a clip, so that every temporal scale has a
group; the frame buffer before it is filled with frames of the data.
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
WARMUP_ROUNDS = 5  # untimed; the process still grows in them, and new memory costs time
_TEST_ONLY_FLAGS = {"--use_real_img"}


def make_training_options(
    mode: str, size: FrameSize, ngf: int, data: Path, extra_flags: Sequence[str] = ()
) -> TrainOptions:
    """Return the options of a run with windows of one frame and the published networks of a mode."""
    flags = [flag for flag in make_mode_flags(mode, size) if flag not in _TEST_ONLY_FLAGS]
    flags += [f"--ngf={ngf}", f"--dataroot={data}", "--n_frames_total=1", "--no_flip"]
    return parse_train([*flags, *extra_flags])


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
    """Build a step with random weights; steps of the same options start from the same weights."""
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
    images = clip.image
    config = configs.temporal_config(opt)
    assert images is not None
    zero_flow = images.new_zeros(len(images), 2, *images.shape[-2:])
    frame_buffer = FrameBuffer.empty(config)
    for i in range(start):
        image = images[:, i % images.shape[1]]
        frame = BufferedFrame(image, image, zero_flow)
        _, frame_buffer = group_frames(frame_buffer, {i: frame}, config)
    first_images = images[:, : opt.n_frames_G - 1]
    history = History.from_first_images(first_images, opt.n_scales_spatial)
    return ClipState(history, frame_buffer, n_generated=start)


def read_first_clip(options: TrainOptions, device_setup: DeviceSetup) -> Clip:
    """Read the first clip of the first epoch."""
    data = build_training_data(options, device_setup)
    dataset = ClipDataset(data.frame_reader, data.sequences, configs.transform_config(options))
    first_batch = data.epoch_batches(1)[0]
    return dataset[first_batch[0]]


def measure_training(
    options: TrainOptions,
    rounds: int,
    limits: DeviceLimits,
    flow_estimator: FlowEstimator | None = None,
) -> list[BenchmarkRow]:
    """Measure a step of the reference implementation and of the program.

    Args:
        options: TrainOptions of the run.
        rounds: Timed steps of each.
        limits: Limits of the device.
        flow_estimator: Estimates the reference flow: at every step in the reference
            implementation, once before the timing for the program's cache. None: no flow.

    Returns:
        One row each, the reference implementation first.
    """
    device_setup = setup_devices(configs.device_config(options))
    device = device_setup.device
    temporal = configs.temporal_config(options)
    start = temporal.n_frames_D ** max(temporal.n_scales - 1, 0) * (temporal.n_frames_D - 1)
    clip = read_first_clip(options, device_setup).to(device)
    cached_clip = clip
    if flow_estimator is not None:
        cached_clip = add_cached_flow(clip, start, options, flow_estimator)
    spec = MODEL_REGISTRY[options.model]
    steps = {
        REFERENCE_NAME: build_benchmark_step(
            options,
            replace(spec, build_forward=build_reference_forward),
            ReferenceTrainer,
            device_setup,
            flow_estimator or ZeroFlowEstimator(),
            clip,
            start,
        ),
        OPTIMIZED_NAME: build_benchmark_step(
            options, spec, Trainer, device_setup, ZeroFlowEstimator(), cached_clip, start
        ),
    }
    first_results = {name: run_and_count_macs(step) for name, step in steps.items()}
    workloads = {name: repeat_step(step) for name, step in steps.items()}
    time_interleaved(workloads, WARMUP_ROUNDS, device)
    timings = time_interleaved(workloads, rounds, device, is_warm=True)

    # The program is credited with the full work, also where it saves some.
    expected, macs = first_results[REFERENCE_NAME]
    return [
        make_row(
            name,
            timings[name],
            timings[REFERENCE_NAME],
            macs,
            limits.gmacs["off"],
            max_relative_difference(losses, expected),
        )
        for name, (losses, _) in first_results.items()
    ]


def add_cached_flow(
    clip: Clip, start: int, options: TrainOptions, flow_estimator: FlowEstimator
) -> Clip:
    """Return the clip with the flow that the window's frame and its temporal groups need."""
    images = clip.image
    n_history, tD = options.n_frames_G - 1, options.n_frames_D
    assert images is not None
    strides = [tD**scale for scale in range(1, options.n_scales_temporal)]
    image_pairs = {(start, start - 1): (images[:, -1], images[:, -2])}
    for i in range(tD - 1):
        for stride in strides:
            current, previous = start - i * stride, start - (i + 1) * stride
            current_index = -1 if current == start else current % len(clip)
            image_pairs[current, previous] = (
                images[:, current_index],
                images[:, previous % len(clip)],
            )
    flows = [flow_estimator.estimate(*pair) for pair in image_pairs.values()]
    pairs = [(current + n_history, previous + n_history) for current, previous in image_pairs]
    return replace(clip, flow_pairs=tuple(pairs), pair_flow=torch.stack(flows, dim=1))


def repeat_step(step: BenchmarkStep) -> Callable[[], Iterator[dict[str, float]]]:
    """Return a workload of one step per round."""

    def workload() -> Iterator[dict[str, float]]:
        yield step()

    return workload


def run_and_count_macs(step: BenchmarkStep) -> tuple[dict[str, float], int]:
    """Run a step; return its losses and the number of multiply-accumulates."""
    with FlopCounterMode(display=False) as counter:
        losses = step()
    return losses, counter.get_total_flops() // 2


def max_relative_difference(
    losses: Mapping[str, float], reference_losses: Mapping[str, float]
) -> float:
    """Return the largest relative difference between the losses of two steps."""
    assert set(losses) == set(reference_losses)
    return max(
        abs(losses[name] - value) / max(abs(value), 1e-6)
        for name, value in reference_losses.items()
    )
