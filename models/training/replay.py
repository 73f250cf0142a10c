"""Repeat a training step from its snapshot, with autograd's anomaly detection (`--debug_replay`)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import torch

from models.checkpoint import load_network
from models.training.non_finite import NonFiniteError
from models.training.schedule import compute_epoch_settings
from models.training.snapshot import load_snapshot
from models.training.trainer import Trainer
from util.runtime.random_state import restore_random_states


def replay_step(trainer: Trainer, path: Path) -> list[str]:
    """Repeat the step of a snapshot; return a report, line by line.

    Args:
        trainer: Built with the options of the run. Its networks get the snapshot's weights.
        path: The snapshot.
    """
    snapshot = load_snapshot(path)
    for name, network in trainer.networks.named_networks().items():
        load_network(network, snapshot.networks.get(name, {}), f"{path} ({name})")
    windows = snapshot.clip.split_into_windows(trainer.config.schedule.n_frames_G)
    window = next(islice(windows, snapshot.window_index, None))
    settings = compute_epoch_settings(snapshot.epoch, trainer.config.schedule)
    states = None
    if snapshot.state.n_generated:
        states = trainer.forward.split_state(snapshot.state, len(window.names))
    restore_random_states(dict(snapshot.random_states))

    losses: Mapping[str, float] = {}
    try:
        with torch.autograd.detect_anomaly():
            output = trainer.forward(window, states, settings)
            losses, _ = trainer.optimize(output, settings)
        outcome = "finite this time: the step was made"
    except NonFiniteError as error:
        losses, outcome = error.losses, str(error)
    except RuntimeError as error:  # anomaly detection names the operation
        outcome = str(error)
    frames = ", ".join(window.names[0])
    return [*(f"{name}: {loss:g}" for name, loss in losses.items()), f"{frames}: {outcome}"]
