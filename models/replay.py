"""A training window that went wrong, kept whole, so that it can be looked at again (`--debug_replay`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from models.guard import NotFinite
from models.networks import Networks
from models.rollout import History
from models.saving import load_network
from models.schedule import phase_at
from models.teams import Past
from models.temporal import Memory, SeenFrame
from util.checkpoint import read_file, save_set
from util.clip import Clip
from util.errors import UserError
from util.seeds import random_states, restore_random_states

if TYPE_CHECKING:
    from models.trainer import Trainer


@dataclass(frozen=True)
class Moment:
    """What a window's step is computed from, besides the networks. start: the window's first generated frame.
    past: of the window before, of all clips."""

    epoch: int
    start: int
    clip: Clip
    past: Past


def save_moment(path: Path, moment: Moment, networks: Networks, options: Mapping[str, str]) -> None:
    """With the weights as they are and the random states as they stand."""
    memory = moment.past.memory
    content = {
        "epoch": moment.epoch, "start": moment.start, "options": dict(options),
        "clip": vars(moment.clip.to(torch.device("cpu"))),  # numbers: a file holds no functions
        **{key: history and history.detach().pictures for key, history in (
            ("history", moment.past.history), ("taught", moment.past.taught))}, "kept": memory.kept,
        "frames": {number: vars(frame) for number, frame in memory.frames.items()}, "random": random_states(),
        "networks": {name: network.state_dict() for name, network in networks.named().items()}}
    save_set(path.parent, {path.name: content})


def read_moment(path: Path) -> dict[str, Any]:
    content = read_file(path, "--debug_replay")
    expected = {"epoch", "start", "clip", "options", "history", "taught", "kept", "frames", "networks"}
    if missing := expected - set(content):
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}: --debug_replay takes the file that a run left "
                        "when it stopped on a number that was not finite")
    return content


def replay(trainer: Trainer, path: Path) -> list[str]:
    """Makes the window's step again, with autograd watching; what came of it, a line each. `trainer` is built with
    the options of the run and ends with the networks of the file."""
    saved = read_moment(path)
    for name, network in trainer.networks.named().items():
        load_network(network, saved["networks"].get(name, {}), f"{path} ({name})")
    clip, start = Clip(**saved["clip"]), saved["start"]
    shares = trainer.teams.share(clip)
    windows = [list(share.clip.windows(trainer.config.schedule.n_frames_G))[start // clip.load] for share in shares]
    phase = phase_at(saved["epoch"], trainer.config.schedule)
    history, taught = (History(pictures) if (pictures := saved[key]) else None for key in ("history", "taught"))
    frames = {number: SeenFrame(**frame) for number, frame in saved["frames"].items()}
    past = Past(history, Memory(saved["kept"], frames), taught)
    pasts = [past.part(share.start, share.start + len(share.clip.names), share.team.device) for share in shares]
    restore_random_states(saved["random"])
    try:
        with torch.autograd.detect_anomaly():
            losses = trainer.train_window(shares, windows, start, phase, pasts)[0].losses
        verdict = "finite this time: the step was made"
    except NotFinite as fault:
        losses, verdict = dict(fault.losses), str(fault)
    except RuntimeError as fault:  # what anomaly detection raises, naming the operation
        losses, verdict = {}, str(fault)
    return [*(f"{name}: {value:g}" for name, value in losses.items()), f"{', '.join(windows[0].names[0])}: {verdict}"]
