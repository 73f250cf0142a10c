"""A file with everything that a failed training step was computed from (`--debug_replay`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.losses.temporal_groups import BufferedFrame, FrameBuffer
from models.networks.collection import Vid2VidModels
from models.networks.rollout import History
from models.training.forward import ClipState
from models.training.non_finite import NonFiniteError
from util.clip import Clip
from util.errors import UserError
from util.io.file_keys import from_file_keys, to_file_keys
from util.io.state_dict import safe_load_dict, save_files_atomically
from util.runtime.random_state import get_random_states

SNAPSHOT_FILE = "not_finite.pth"
_CLIP_FILE_KEYS = {
    "image": "picture",
    "window_size": "load",
    "flow_pairs": "pairs",
    "normalization": "levels",
}
_KEYS = {
    "epoch",
    "start",
    "clip",
    "options",
    "history",
    "taught",
    "kept",
    "frames",
    "networks",
    "random",
}


@dataclass(frozen=True)
class StepSnapshot:
    """What the step of a window was computed from.

    Attributes:
        epoch: The epoch, from 1.
        clip: The whole batch, padded.
        state: The state of the whole batch before the window.
        networks: State dicts of all networks by name.
        random_states: States of all random generators.
    """

    epoch: int
    clip: Clip
    state: ClipState
    networks: Mapping[str, Mapping[str, Tensor]]
    random_states: Mapping[str, Any]

    @property
    def window_index(self) -> int:
        """Return which window of the clip it is, from 0."""
        return self.state.n_generated // self.clip.window_size


def save_snapshot(
    folder: Path,
    epoch: int,
    clip: Clip,
    state: ClipState,
    networks: Vid2VidModels,
    options: Mapping[str, str],
) -> Path:
    """Write the snapshot of a step, with the weights and random states as they are; return its path.

    Args:
        folder: The run's folder.
        epoch: The epoch.
        clip: The whole batch, padded.
        state: The state of the whole batch before the window, on the CPU.
        networks: The networks.
        options: The run's flags.
    """
    # On the CPU the clip's bytes become floats, so its normalization function is not written.
    clip_content = vars(clip.to(torch.device("cpu")))
    frame_buffer = state.frame_buffer or FrameBuffer((), {})
    content = {
        "epoch": epoch,
        "start": state.n_generated,
        "options": dict(options),
        "clip": to_file_keys(clip_content, _CLIP_FILE_KEYS),
        "history": None if state.history is None else state.history.images,
        "taught": None if state.teacher_history is None else state.teacher_history.images,
        "kept": frame_buffer.retained,
        "frames": {number: vars(frame) for number, frame in frame_buffer.frames.items()},
        "random": get_random_states(),
        "networks": {
            name: network.state_dict() for name, network in networks.named_networks().items()
        },
    }
    save_files_atomically(folder, {SNAPSHOT_FILE: content})
    return folder / SNAPSHOT_FILE


def load_snapshot(path: Path) -> StepSnapshot:
    """Read a snapshot.

    Raises:
        UserError: The file is not a snapshot.
    """
    content = safe_load_dict(path, "--debug_replay")
    missing = _KEYS - set(content)
    if missing:
        raise UserError(
            f"{path} has no {', '.join(sorted(missing))}: --debug_replay expects the file that a "
            "run wrote when it stopped because a loss or gradient was not finite"
        )
    frames = {number: BufferedFrame(**frame) for number, frame in content["frames"].items()}
    frame_buffer = FrameBuffer(content["kept"], frames) if content["kept"] else None
    return StepSnapshot(
        epoch=content["epoch"],
        clip=Clip(**from_file_keys(content["clip"], _CLIP_FILE_KEYS)),
        state=ClipState(
            history=_to_history(content["history"]),
            frame_buffer=frame_buffer,
            teacher_history=_to_history(content["taught"]),
            n_generated=content["start"],
        ),
        networks=content["networks"],
        random_states=content["random"],
    )


def _to_history(images: tuple[Tensor, ...] | None) -> History | None:
    return None if images is None else History(images)


def explain_non_finite(error: NonFiniteError, window: Clip, snapshot_path: Path) -> UserError:
    """Return what to tell the user about a step that was not made."""
    frames = "; ".join(", ".join(names) for names in window.names)
    return UserError(
        f"training stopped before the step: {error}, on {frames}: look at these frames, repeat the "
        f"step with the same flags and --debug_replay {snapshot_path}, or resume from the last "
        "checkpoint (--continue_train) with a smaller --lr"
    )
