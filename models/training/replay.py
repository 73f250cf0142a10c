"""A training window that went wrong, kept whole, so that it can be looked at again (`--debug_replay`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from models.checkpoint import load_network
from models.losses.temporal_groups import BufferedFrame, FrameBuffer
from models.networks.collection import Vid2VidModels
from models.networks.rollout import History
from models.training.device_groups import ClipState
from models.training.non_finite import NonFiniteError
from models.training.schedule import compute_epoch_settings
from util.clip import Clip
from util.errors import UserError
from util.io.file_keys import from_file_keys, to_file_keys
from util.io.state_dict import safe_load_dict, save_files_atomically
from util.runtime.random_state import get_random_states, restore_random_states

if TYPE_CHECKING:
    from models.training.trainer import Trainer

_CLIP_FILE_KEYS = {
    "image": "picture",
    "window_size": "load",
    "flow_pairs": "pairs",
    "normalization": "levels",
}


@dataclass(frozen=True)
class StepSnapshot:
    """What a window's step is computed from, besides the networks. start: the window's first generated frame.
    past: of the window before, of all clips."""

    epoch: int
    start: int
    clip: Clip
    state: ClipState


def save_snapshot(
    path: Path, snapshot: StepSnapshot, networks: Vid2VidModels, options: Mapping[str, str]
) -> None:
    """With the weights as they are and the random states as they stand."""
    memory = snapshot.state.frame_buffer
    content = {
        "epoch": snapshot.epoch,
        "start": snapshot.start,
        "options": dict(options),
        "clip": to_file_keys(
            vars(snapshot.clip.to(torch.device("cpu"))), _CLIP_FILE_KEYS
        ),  # numbers: a file holds no functions
        **{
            key: history and history.detach().images
            for key, history in (
                ("history", snapshot.state.history),
                ("taught", snapshot.state.teacher_history),
            )
        },
        "kept": memory.retained,
        "frames": {number: vars(frame) for number, frame in memory.frames.items()},
        "random": get_random_states(),
        "networks": {
            name: network.state_dict() for name, network in networks.named_networks().items()
        },
    }
    save_files_atomically(path.parent, {path.name: content})


def read_snapshot(path: Path) -> dict[str, Any]:
    content = safe_load_dict(path, "--debug_replay")
    expected = {
        "epoch",
        "start",
        "clip",
        "options",
        "history",
        "taught",
        "kept",
        "frames",
        "networks",
    }
    if missing := expected - set(content):
        raise UserError(
            f"{path} lacks {', '.join(sorted(missing))}: --debug_replay takes the file that a run left "
            "when it stopped on a number that was not finite"
        )
    return content


def replay_step(trainer: Trainer, path: Path) -> list[str]:
    """Makes the window's step again, with autograd watching; what came of it, a line each. `trainer` is built with
    the options of the run and ends with the networks of the file."""
    saved = read_snapshot(path)
    for name, network in trainer.networks.named_networks().items():
        load_network(network, saved["networks"].get(name, {}), f"{path} ({name})")
    clip, start = Clip(**from_file_keys(saved["clip"], _CLIP_FILE_KEYS)), saved["start"]
    shares = trainer.parallel_models.split_batch(clip)
    windows = [
        list(share.clip.split_into_windows(trainer.config.schedule.n_frames_G))[
            start // clip.window_size
        ]
        for share in shares
    ]
    phase = compute_epoch_settings(saved["epoch"], trainer.config.schedule)
    history, taught = (
        History(images) if (images := saved[key]) else None for key in ("history", "taught")
    )
    frames = {number: BufferedFrame(**frame) for number, frame in saved["frames"].items()}
    past = ClipState(history, FrameBuffer(saved["kept"], frames), taught)
    pasts = [
        past.slice_batch(
            share.offset, share.offset + len(share.clip.names), share.group_models.device
        )
        for share in shares
    ]
    restore_random_states(saved["random"])
    try:
        with torch.autograd.detect_anomaly():
            losses = trainer.train_window(shares, windows, start, phase, pasts)[0].losses
        verdict = "finite this time: the step was made"
    except NonFiniteError as fault:
        losses, verdict = dict(fault.losses), str(fault)
    except RuntimeError as fault:  # what anomaly detection raises, naming the operation
        losses, verdict = {}, str(fault)
    return [
        *(f"{name}: {value:g}" for name, value in losses.items()),
        f"{', '.join(windows[0].names[0])}: {verdict}",
    ]
