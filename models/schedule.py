"""What changes from epoch to epoch, a pure function of the epoch (SPEC 7 and 10): a resume has nothing to restore."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

MAX_CLIP = 128  # pictures


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
    epochs_finest_only: int  # niter_fix_global
    n_scales: int
    longest: int
    n_gpus: int = 1

    @property
    def last_epoch(self) -> int:
        return self.n_epochs + self.n_epochs_decay


@dataclass(frozen=True)
class Phase:
    """One epoch's settings. n_frames_total: frames generated of a clip; frames_per_gpu: of a window, by each generator
    GPU; backpropagate: frames between two cuts of the gradient; lr_factor: of every optimiser's own start."""

    epoch: int
    n_frames_total: int
    frames_per_gpu: int
    backpropagate: int
    lr_factor: float
    train_coarse: bool


def _longer(phase: Phase, step: int, config: ScheduleConfig) -> Phase:
    """After `step` times `epochs_per_step` epochs: longer clips, gradients further back, more frames at a time."""
    usable = min(MAX_CLIP, config.longest) - (config.n_frames_G - 1)
    total, back = phase.n_frames_total, phase.backpropagate
    load = phase.frames_per_gpu * config.n_gpus
    if total < usable:
        total = min(usable, config.n_frames_total * 2**step)
    if back < load:
        back = load // math.ceil(load / min(config.max_frames_backpropagate, 2**step))
    return replace(phase, n_frames_total=total, backpropagate=back,
                   frames_per_gpu=min(2 * phase.frames_per_gpu, config.max_frames_per_gpu))


def phase_at(epoch: int, config: ScheduleConfig) -> Phase:
    """The settings of epoch 1, 2, ..."""
    past_full = max(0, epoch - 1 - config.n_epochs)
    phase = Phase(
        epoch=epoch,
        n_frames_total=config.n_frames_total,
        frames_per_gpu=max(1, min(config.max_frames_per_gpu, config.n_frames_total // config.n_gpus)),
        backpropagate=1,
        lr_factor=1 - past_full / config.n_epochs_decay if past_full else 1.0,
        train_coarse=config.n_scales == 1 or epoch > config.epochs_finest_only)
    for step in range(1, (epoch - 1) // config.epochs_per_step + 1):
        phase = _longer(phase, step, config)
    return phase
