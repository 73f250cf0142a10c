"""The state of a training run on disk: saving it, resuming from it, and pruning old weights.

`latest_state.pth` holds everything that `--continue_train` needs. `iter.txt` and the weights of `latest` are saved with
it for other programs; a resumed run does not read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from models.checkpoint import collect_weights, load_network
from models.networks.collection import Vid2VidModels
from util.distributed.optimizer import AmpOptimizer
from util.errors import UserError
from util.io.atomic import recover_interrupted_write
from util.io.state_dict import safe_load_dict, save_files_atomically
from util.runtime.random_state import get_random_states, restore_random_states

LATEST_STATE_FILE = "latest_state.pth"
PREVIOUS_STATE_FILE = "previous_state.pth"
_RESUME_FLAGS = "--continue_train, --name, --checkpoints_dir"
_STATE_KEYS = {"run", "random", "options", "networks", "optimizers"}


@dataclass(frozen=True)
class RunState:
    """The position of a training run. The field names are keys of the saved state.

    Attributes:
        epoch: The current epoch, from 1.
        step: Batches completed in this epoch.
        batch_size: Clips per batch.
        best: The highest validation metric so far (`ModelSpec.monitored_metric`).
    """

    epoch: int = 1
    step: int = 0
    batch_size: int = 1
    best: float = float("-inf")

    @property
    def n_epoch_clips(self) -> int:
        """Clips completed in this epoch."""
        return self.step * self.batch_size

    def with_batch_size(self, batch_size: int) -> RunState:
        """Return the same position for another batch size, rounded down to a whole batch."""
        return replace(self, step=self.n_epoch_clips // batch_size, batch_size=batch_size)


def save_latest(
    folder: Path,
    networks: Vid2VidModels,
    optimizers: Mapping[str, AmpOptimizer],
    run: RunState,
    options: Mapping[str, str],
) -> None:
    """Save the training state, the weights of `latest` and `iter.txt`: all files or none."""
    named_networks = networks.named_networks()
    state = {
        "run": asdict(run),
        "random": get_random_states(),
        "options": dict(options),
        "networks": {name: network.state_dict() for name, network in named_networks.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
    }
    files = {
        LATEST_STATE_FILE: state,
        **collect_weights("latest", networks),
        "iter.txt": f"{run.epoch}\n{run.n_epoch_clips}\n",
    }
    save_files_atomically(folder, files)


def read_training_state(folder: Path) -> dict[str, Any]:
    """Read the state that `save_latest` saved.

    Raises:
        UserError: The file is missing or broken, or is not a training state.
    """
    recover_interrupted_write(folder)
    path = folder / LATEST_STATE_FILE
    state = safe_load_dict(path, _RESUME_FLAGS)
    missing = _STATE_KEYS - set(state)
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(sorted(missing))}: it is not a training state of this program"
        )
    return state


def restore_checkpoint(
    folder: Path,
    state: Mapping[str, Any],
    networks: Vid2VidModels,
    optimizers: Mapping[str, AmpOptimizer],
) -> RunState:
    """Restore weights, optimizers and random states, and return the position of the run.

    Args:
        folder: The run's folder, for error messages.
        state: The result of `read_training_state`.
        networks: The networks to restore.
        optimizers: The optimizers to restore.

    Raises:
        UserError: The run was trained with other networks.
    """
    path = folder / LATEST_STATE_FILE
    named_networks = networks.named_networks()
    for kind, expected in (("networks", named_networks), ("optimizers", optimizers)):
        if set(state[kind]) != set(expected):
            raise UserError(
                f"{path} holds the {kind} {', '.join(state[kind])}, but the options define "
                f"{', '.join(expected)}: use the options that the run was started with"
            )
    for name, network in named_networks.items():
        load_network(network, state["networks"][name], f"{path} ({name})")
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    restore_random_states(state["random"])
    return RunState(**state["run"])


def archive_previous_run(folder: Path) -> list[str]:
    """Rename the training state of an earlier run in the folder.

    Returns:
        A line for the log if there was one; else nothing.
    """
    recover_interrupted_write(folder)
    path = folder / LATEST_STATE_FILE
    if not path.is_file():
        return []
    path.replace(folder / PREVIOUS_STATE_FILE)
    return [
        f"{folder} holds an earlier run: its state was renamed to {PREVIOUS_STATE_FILE}; to resume that run instead, "
        f"rename it to {LATEST_STATE_FILE} and use --continue_train"
    ]


def prune_epochs(folder: Path, max_kept_epochs: int) -> None:
    """Delete the weights of all but the last `max_kept_epochs` epochs; keep `latest` and `best`."""
    files: dict[int, list[Path]] = {}
    for path in folder.iterdir():
        match = re.fullmatch(r"(\d+)_net_\w+\.pth", path.name)
        if match:
            files.setdefault(int(match[1]), []).append(path)
    for epoch in sorted(files)[:-max_kept_epochs]:
        for path in files[epoch]:
            path.unlink()


def describe_last_checkpoint(folder: Path) -> str:
    """Describe the training state in the folder, as a clause for messages."""
    try:
        recover_interrupted_write(folder)
        epoch, clips = (folder / "iter.txt").read_text().split()
    except (OSError, ValueError):
        return f"{folder} holds no readable save"
    return f"the last save is epoch {epoch} after {clips} clips: {folder / LATEST_STATE_FILE}"


@contextmanager
def write_errors_explained(folder: Path) -> Iterator[None]:
    """Convert an OSError, such as a full disk, to a UserError that names the last save."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error}; {describe_last_checkpoint(folder)}; fix the disk, then resume with "
            "the same flags and --continue_train"
        ) from error
