"""What changes from epoch to epoch, a pure function of the epoch (SPEC 7 and 10): a resume has nothing to restore."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

MAX_CLIP_FRAMES = 128  # images


@dataclass(frozen=True)
class ScheduleConfig:
    """Epochs count from 1. n_gpus: generator GPUs that share the frames of a window. longest: frames of the longest
    sequence."""

    n_epochs: int  # at full learning rate
    n_epochs_decay: int
    n_frames_G: int
    n_frames_total: int
    epochs_per_step: int  # niter_step
    max_frames_per_gpu: int
    max_frames_backpropagate: int
    n_epochs_freeze_coarse: int  # niter_fix_global
    n_scales: int
    max_sequence_frames: int
    n_generator_gpus: int = 1

    @property
    def last_epoch(self) -> int:
        return self.n_epochs + self.n_epochs_decay


@dataclass(frozen=True)
class EpochSettings:
    """One epoch's settings. n_frames_total: frames generated of a clip; frames_per_gpu: of a window, by each generator
    GPU; backpropagate: frames between two cuts of the gradient; lr_factor: of every optimiser's own start."""

    epoch: int
    n_frames_total: int
    frames_per_gpu: int
    bptt_frames: int
    lr_factor: float
    train_coarse: bool


def _grow_clip_length(settings: EpochSettings, step: int, config: ScheduleConfig) -> EpochSettings:
    """After `step` times `epochs_per_step` epochs: longer clips, gradients further back, more frames at a time."""
    usable = min(MAX_CLIP_FRAMES, config.max_sequence_frames) - (config.n_frames_G - 1)
    total, back = settings.n_frames_total, settings.bptt_frames
    load = settings.frames_per_gpu * config.n_generator_gpus
    if total < usable:
        total = min(usable, config.n_frames_total * 2**step)
    if back < load:
        back = load // math.ceil(load / min(config.max_frames_backpropagate, 2**step))
    return replace(
        settings,
        n_frames_total=total,
        bptt_frames=back,
        frames_per_gpu=min(2 * settings.frames_per_gpu, config.max_frames_per_gpu),
    )


def compute_epoch_settings(epoch: int, config: ScheduleConfig) -> EpochSettings:
    """The settings of epoch 1, 2, ..."""
    past_full = max(0, epoch - 1 - config.n_epochs)
    phase = EpochSettings(
        epoch=epoch,
        n_frames_total=config.n_frames_total,
        frames_per_gpu=max(
            1, min(config.max_frames_per_gpu, config.n_frames_total // config.n_generator_gpus)
        ),
        bptt_frames=1,
        lr_factor=1 - past_full / config.n_epochs_decay if past_full else 1.0,
        train_coarse=config.n_scales == 1 or epoch > config.n_epochs_freeze_coarse,
    )
    for step in range(1, (epoch - 1) // config.epochs_per_step + 1):
        phase = _grow_clip_length(phase, step, config)
    return phase
