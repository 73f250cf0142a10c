"""The parts of a training run, built from its options. Only `options` knows both `data` and `models`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from data.dataset import ClipDataset, iter_evenly_spaced_frames
from data.frame_reader import FrameReader
from data.image_io import read_image
from data.inference_inputs import open_inference_inputs
from data.loader import WorkerStatus, build_dataloader
from data.sampler import ClipPlan, SamplerConfig, check_sequence_lengths, plan_epoch
from data.sequences import FrameSequence, find_sequences
from data.validation import run_quick_check
from models.checkpoint import load_pretrained
from models.evaluation.label_prediction import evaluate_forecast
from models.evaluation.video_metrics import MetricValues, build_standard_metrics, evaluate_synthesis
from models.flow import FlowEstimator, build_flow_estimator
from models.flow.cache import FlowCache
from models.flow.precompute import build_flow_annotator, list_file_pairs, precompute_flow
from models.inference import first_frame
from models.inference.instance_features import encode_dataset_features, save_feature_clusters
from models.inference.prepare import share_for_inference
from models.inference.synthesizer import Synthesizer
from models.losses.distillation import load_teacher
from models.losses.perceptual import load_perceptual_loss
from models.losses.temporal_groups import FlowPairSelector, compute_flow_strides
from models.networks.collection import Vid2VidModels
from models.networks.label_predictor import LabelPredictor
from models.ops.compile import FallbackCompiler
from models.training.callbacks import (
    ClipCounter,
    EpochCallback,
    Evaluate,
    LogImages,
    LogLosses,
    SaveEpoch,
    SaveLatest,
    StepCallback,
    WarnOfDivergence,
)
from models.training.device_groups import GroupReplicas, ParallelForward, build_parallel_forward
from models.training.forward import WindowForward
from models.training.resume import (
    RunState,
    archive_previous_run,
    restore_checkpoint,
    save_latest,
)
from models.training.schedule import ScheduleConfig, compute_epoch_settings
from models.training.trainer import Trainer
from options import configs
from options.registry import MODEL_REGISTRY, ConditionToImage
from options.schema import TrainOptions
from options.validation import is_label_prediction_training
from util.clip import Clip
from util.distributed import DeviceSetup
from util.distributed.optimizer import AmpOptimizer
from util.run_logger import RunLogger, open_run_logger
from util.runtime.signals import make_graceful_stop_event

MAX_FEATURE_FRAMES = 2000  # training frames whose instance features are clustered


@dataclass(frozen=True)
class TrainingData:
    """The sequences of a training run.

    Attributes:
        frame_reader: Reads their frames.
        sequences: The sequences.
        sampling: How clips are sampled.
        schedule: What changes from epoch to epoch.
        check_summary: What the quick check of the files has covered, as text.
    """

    frame_reader: FrameReader
    sequences: tuple[FrameSequence, ...]
    sampling: SamplerConfig
    schedule: ScheduleConfig
    check_summary: str

    @property
    def image_files(self) -> list[tuple[Path, ...]]:
        """Return the image files of each sequence."""
        return [sequence.files["image"] for sequence in self.sequences]

    def epoch_batches(self, epoch: int) -> list[list[ClipPlan]]:
        """Return the batches of an epoch."""
        lengths = [len(sequence) for sequence in self.sequences]
        n_frames_total = compute_epoch_settings(epoch, self.schedule).n_frames_total
        return plan_epoch(lengths, self.sampling, n_frames_total, epoch)

    def remaining_batches(self, run: RunState) -> Iterator[list[ClipPlan]]:
        """Yield the batches from where the run stands to its end."""
        for epoch in range(run.epoch, self.schedule.last_epoch + 1):
            first_step = run.step if epoch == run.epoch else 0
            yield from self.epoch_batches(epoch)[first_step:]


def build_training_data(opt: TrainOptions, device_setup: DeviceSetup) -> TrainingData:
    """Find and check the sequences of a training run.

    Raises:
        UserError: Names the file, folder or sequence that is not valid.
    """
    frame_reader = configs.build_frame_reader(opt)
    sampling = configs.sampling_config(
        opt, device_setup.n_gpus_gen, device_setup.process_group.world_size
    )
    uses_images = not is_label_prediction_training(opt)
    folder_specs = frame_reader.folder_specs(uses_images=uses_images)
    sequences = find_sequences(opt.dataroot, opt.phase, folder_specs, opt.allow_symlinks)
    lengths = [len(sequence) for sequence in sequences]
    check_sequence_lengths([sequence.name for sequence in sequences], lengths, sampling.n_frames_G)
    schedule = configs.schedule_config(opt, max(lengths), device_setup.n_gpus_gen)
    check_summary = run_quick_check(frame_reader, sequences)
    return TrainingData(frame_reader, sequences, sampling, schedule, check_summary)


def build_forward(
    opt: TrainOptions,
    networks: Vid2VidModels,
    flow_estimator: FlowEstimator,
    condition_to_image: ConditionToImage,
    device_setup: DeviceSetup,
) -> ParallelForward:
    """Build the forward pass of the run's method on all devices of this process.

    Args:
        opt: The flags.
        networks: The networks, on the first device.
        flow_estimator: The reference flow, on the first device.
        condition_to_image: Draws a condition (C, H, W), as it was read, as an image.
        device_setup: The devices.
    """
    perceptual_loss = None
    if not (opt.no_vgg or is_label_prediction_training(opt)):
        perceptual_loss = load_perceptual_loss(opt.vgg_weights).to(device_setup.device)
    if opt.sync_bn:
        networks.convert_sync_batchnorm()
    teacher, teacher_config = None, configs.teacher_config(opt)
    if teacher_config is not None and opt.distill_from is not None:
        teacher = load_teacher(teacher_config, opt.distill_from).to(device_setup.device)

    def build_flow_estimator_on(device: torch.device) -> FlowEstimator:
        if device == device_setup.device:
            return flow_estimator
        return build_flow_estimator(configs.flow_config(opt), device)[0]

    def build_group_forward(group: GroupReplicas) -> WindowForward:
        return MODEL_REGISTRY[opt.model].build_forward(opt, group, condition_to_image)

    return build_parallel_forward(
        device_setup,
        networks,
        perceptual_loss,
        build_flow_estimator_on,
        build_group_forward,
        teacher=teacher,
        compiler=FallbackCompiler() if opt.compile and not opt.debug_replay else None,
    )


def build_trainer(
    opt: TrainOptions,
    networks: Vid2VidModels,
    optimizers: dict[str, AmpOptimizer],
    forward: ParallelForward,
    training_data: TrainingData,
    evaluate: Callable[[], MetricValues] | None,
    device_setup: DeviceSetup,
) -> Trainer:
    """Build the trainer, with the logging, saving and evaluation that the flags ask for."""
    steps_per_epoch = len(training_data.epoch_batches(1))
    config = configs.trainer_config(opt, training_data.schedule, steps_per_epoch)
    counter = ClipCounter(steps_per_epoch)
    is_main_process = device_setup.process_group.is_main_process

    def save(run: RunState) -> None:
        if is_main_process:
            save_latest(config.folder, networks, optimizers, run, config.options)

    step_callbacks: list[StepCallback] = []
    logger = build_logger(opt, device_setup)
    if logger is not None:
        step_callbacks += [
            WarnOfDivergence(logger, configs.loss_config(opt)),
            LogLosses(logger, counter, 1 if opt.debug else opt.print_freq),
            LogImages(logger, counter, 1 if opt.debug else opt.display_freq, forward),
            SaveLatest(save, counter, opt.save_latest_freq),
        ]
    epoch_callbacks: list[EpochCallback] = []
    if evaluate is not None:
        epoch_callbacks.append(
            Evaluate(
                evaluate,
                MODEL_REGISTRY[opt.model].monitored_metric,
                opt.eval_freq,
                config.folder if is_main_process else None,
                networks,
                logger,
                counter,
            )
        )
    if is_main_process:
        epoch_callbacks.append(
            SaveEpoch(save, config.folder, networks, opt.save_epoch_freq, opt.keep_last_epochs)
        )
    return Trainer(
        networks,
        optimizers,
        forward,
        device_setup,
        config,
        save,
        step_callbacks,
        epoch_callbacks,
        make_graceful_stop_event(),
    )


def initialize_run(
    opt: TrainOptions,
    state: Mapping[str, Any] | None,
    networks: Vid2VidModels,
    optimizers: Mapping[str, AmpOptimizer],
    training_data: TrainingData,
    device_setup: DeviceSetup,
) -> tuple[RunState, list[str]]:
    """Load the weights that a run starts from, and prepare its folder.

    Args:
        opt: The flags.
        state: The checkpoint of a run that is resumed, or None.
        networks: The networks; they get the weights.
        optimizers: The optimizers; they get the checkpoint's state.
        training_data: The training data.
        device_setup: The devices.

    Returns:
        Where the run stands, and notes for the user.
    """
    folder, batch_size = configs.run_folder(opt), training_data.sampling.batch_size
    run, notes = RunState(batch_size=batch_size), []
    if state:
        run = restore_checkpoint(folder, state, networks, optimizers).with_batch_size(batch_size)
    elif opt.load_pretrain:
        notes += load_pretrained(networks, opt.load_pretrain, opt.which_epoch, opt.allow_partial)
    if should_write_files(opt, device_setup) and not opt.debug_replay:
        if not state:
            notes += archive_previous_run(folder)
        if opt.model == "vid2vid":
            configs.model_config(opt).save(folder)
    last_epoch = training_data.schedule.last_epoch
    if run.epoch > last_epoch:
        notes.append(
            f"all {last_epoch} epochs are done: raise --niter or --niter_decay to train on"
        )
    return run, notes


def should_write_files(opt: TrainOptions, device_setup: DeviceSetup) -> bool:
    """Return whether this process writes files: only one does, and none in a dry run."""
    return device_setup.process_group.is_main_process and not opt.dry_run


def build_logger(opt: TrainOptions, device_setup: DeviceSetup) -> RunLogger | None:
    """Open the logs of the run; None in a process that writes no files."""
    if not should_write_files(opt, device_setup):
        return None
    return open_run_logger(
        configs.run_folder(opt), opt.name, opt.display_winsize, not opt.no_html, opt.tf_log
    )


@contextmanager
def training_loader(
    opt: TrainOptions,
    training_data: TrainingData,
    flow_estimator: FlowEstimator,
    run: RunState,
    device_setup: DeviceSetup,
) -> Iterator[Iterator[Clip]]:
    """Yield the data loader for the batches from where the run stands.

    Raises:
        UserError: A worker died; names the files that it was reading.
    """
    temporal = configs.temporal_config(opt)
    if opt.flow_cache and not flow_estimator.is_worker_safe:
        # Workers cannot run this estimator: they read its flow from the cache.
        strides = compute_flow_strides(opt.max_t_step, temporal)
        pairs = list_file_pairs(training_data.image_files, strides)
        cache = FlowCache.for_estimator(opt.flow_cache, flow_estimator)
        precompute_flow(cache, pairs, flow_estimator, read_image, device_setup.device)
    select_pairs = FlowPairSelector(opt.n_frames_G, temporal)
    add_flow = build_flow_annotator(flow_estimator, select_pairs, read_image, opt.flow_cache)
    dataset = ClipDataset(
        training_data.frame_reader,
        training_data.sequences,
        configs.transform_config(opt),
        add_flow,
    )
    if opt.dry_run:  # the last epoch has the longest clips
        run = replace(run, epoch=training_data.schedule.last_epoch, step=0)
    batches = map(device_setup.process_group.shard, training_data.remaining_batches(run))
    worker_status = WorkerStatus.create(opt.nThreads)
    with worker_status.report_worker_crash():
        yield build_dataloader(
            dataset,
            batches,
            opt.nThreads,
            pin_memory=device_setup.uses_pinned_memory,
            worker_status=worker_status,
        )


def build_evaluator(
    opt: TrainOptions,
    frame_reader: FrameReader,
    networks: Vid2VidModels,
    flow_estimator: FlowEstimator,
    device_setup: DeviceSetup,
) -> Callable[[], MetricValues] | None:
    """Return the evaluation on held-out sequences (`--eval_freq`), or None if there is none.

    Raises:
        UserError: The held-out data are not valid.
    """
    if not opt.eval_freq or opt.model == "single":
        return None
    device = device_setup.device
    inputs = open_inference_inputs(
        configs.validation_input_config(opt),
        frame_reader,
        configs.inference_transform_config(opt),
        opt.n_frames_G - 1,
        configs.run_folder(opt),
    )
    sequences = [(name, reader) for name, reader, _ in inputs.sequences]
    if is_label_prediction_training(opt):
        predictor = networks.netG[0]
        assert isinstance(predictor, LabelPredictor)
        readers = [reader for _, reader in sequences]
        return lambda: evaluate_forecast(
            predictor, readers, opt.eval_frames, device
        ).compute_metrics()
    get_first_images = (
        first_frame.make_zero_images if opt.no_first_img else first_frame.get_real_images
    )
    netG = share_for_inference(networks.netG)
    synthesizer = Synthesizer(netG, configs.synthesis_config(opt), get_first_images, device)
    metrics = build_standard_metrics(flow_estimator, device)
    return partial(evaluate_synthesis, synthesizer, sequences, metrics, opt.eval_frames)


def save_instance_features(
    opt: TrainOptions,
    training_data: TrainingData,
    networks: Vid2VidModels,
    device_setup: DeviceSetup,
) -> None:
    """Encode the instances of the training data and save their feature clusters for test.py."""
    if networks.netE is None:
        return
    frames = iter_evenly_spaced_frames(
        training_data.frame_reader,
        training_data.sequences,
        configs.transform_config(opt),
        MAX_FEATURE_FRAMES,
    )
    is_face = opt.dataset_mode == "face"
    table = encode_dataset_features(
        networks.netE, tqdm(frames, "instance features"), is_face, device_setup.device
    )
    save_feature_clusters(configs.run_folder(opt), table, opt.seed)
