"""Measure a run's memory and time on real steps, without saving anything (`--dry_run`)."""

from __future__ import annotations

import time

from models.training.schedule import compute_epoch_settings
from models.training.trainer import Trainer
from util.clip import Clip


def dry_run(trainer: Trainer, clip: Clip) -> str:
    """Train on all windows of a batch of the run's longest clips; return the cost as text."""
    schedule = trainer.config.schedule
    start_time = time.perf_counter()
    trainer.train_clip(clip, compute_epoch_settings(schedule.last_epoch, schedule))
    seconds = time.perf_counter() - start_time

    n_windows = (len(clip) - schedule.n_frames_G + 1) // clip.window_size
    peaks = trainer.device_setup.measure_peak_memory()
    peak_memory = ", ".join(f"{device} {gib:.2f} GiB" for device, gib in peaks.items())
    height, width = clip.condition.shape[-2:]
    return (
        f"dry run: {n_windows} steps of {clip.window_size} frames, {len(clip.names)} clips, "
        f"{width}x{height}: {seconds / n_windows:.2f} s a step, peak memory {peak_memory}; "
        "nothing was saved"
    )
