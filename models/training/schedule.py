"""What changes from epoch to epoch: a pure function of the epoch, so a resume has nothing to restore."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch.optim import Optimizer

from util.distributed.optimizer import AmpOptimizer

MAX_CLIP_FRAMES = 128


@dataclass(frozen=True)
class ScheduleConfig:
    """Settings of the schedule. Epochs count from 1.

    Attributes:
        n_epochs: Epochs at the full learning rate (`--niter`).
        n_epochs_decay: Epochs while it falls linearly to 0 (`--niter_decay`).
        n_frames_G: tG, frames that the generator sees.
        n_frames_total: Frames generated per clip at first.
        epochs_per_step: Epochs after which clips get longer (`--niter_step`).
        max_frames_per_gpu: Upper limit of the frames of a window per generator GPU.
        max_frames_backpropagate: Upper limit of the frames that a gradient passes through.
        n_epochs_freeze_coarse: First epochs, in which only the finest generator is trained
            (`--niter_fix_global`).
        n_scales: Spatial scales of the generator.
        max_sequence_frames: Frames of the longest sequence.
        n_generator_gpus: Generator GPUs that share the frames of a window.
    """

    n_epochs: int
    n_epochs_decay: int
    n_frames_G: int
    n_frames_total: int
    epochs_per_step: int
    max_frames_per_gpu: int
    max_frames_backpropagate: int
    n_epochs_freeze_coarse: int
    n_scales: int
    max_sequence_frames: int
    n_generator_gpus: int = 1

    @property
    def last_epoch(self) -> int:
        """Return the number of the last epoch."""
        return self.n_epochs + self.n_epochs_decay


@dataclass(frozen=True)
class EpochSettings:
    """The settings of one epoch.

    Attributes:
        epoch: From 1.
        n_frames_total: Frames generated per clip.
        frames_per_gpu: Frames of a window per generator GPU, for the length of back-propagation.
            Windows themselves are planned by `data.sampler.compute_clip_length`.
        bptt_frames: Frames between two cuts of back-propagation through time.
        lr_factor: Factor of every optimizer's initial learning rate.
        train_coarse: Whether all generators are trained, or only the finest.
    """

    epoch: int
    n_frames_total: int
    frames_per_gpu: int
    bptt_frames: int
    lr_factor: float
    train_coarse: bool


def compute_epoch_settings(epoch: int, config: ScheduleConfig) -> EpochSettings:
    """Return the settings of an epoch (from 1)."""
    n_decayed = max(0, epoch - 1 - config.n_epochs)
    max_frames = config.n_frames_total // config.n_generator_gpus
    settings = EpochSettings(
        epoch=epoch,
        n_frames_total=config.n_frames_total,
        frames_per_gpu=max(1, min(config.max_frames_per_gpu, max_frames)),
        bptt_frames=1,
        lr_factor=1 - n_decayed / config.n_epochs_decay if n_decayed else 1.0,
        train_coarse=config.n_scales == 1 or epoch > config.n_epochs_freeze_coarse,
    )
    for growth in range(1, (epoch - 1) // config.epochs_per_step + 1):
        settings = _grow(settings, growth, config)
    return settings


def _grow(settings: EpochSettings, growth: int, config: ScheduleConfig) -> EpochSettings:
    """Return longer clips, longer windows and longer back-propagation: the growth-th time."""
    max_clip_frames = min(MAX_CLIP_FRAMES, config.max_sequence_frames) - (config.n_frames_G - 1)
    n_frames_total = settings.n_frames_total
    if n_frames_total < max_clip_frames:
        n_frames_total = min(max_clip_frames, config.n_frames_total * 2**growth)

    # As published: back-propagation is grown by the window's size before this growth.
    window_size = settings.frames_per_gpu * config.n_generator_gpus
    bptt_frames = settings.bptt_frames
    if bptt_frames < window_size:
        max_bptt_frames = min(config.max_frames_backpropagate, 2**growth)
        bptt_frames = window_size // math.ceil(window_size / max_bptt_frames)

    return replace(
        settings,
        n_frames_total=n_frames_total,
        bptt_frames=bptt_frames,
        frames_per_gpu=min(2 * settings.frames_per_gpu, config.max_frames_per_gpu),
    )


def set_learning_rates(
    optimizers: Mapping[str, Optimizer | AmpOptimizer], lr_factor: float
) -> None:
    """Set every learning rate to its initial value times a factor."""
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * lr_factor
