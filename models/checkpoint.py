"""A run's files under checkpoints/NAME (SPEC 10): one state to resume from, and weights that people exchange."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.infer_config import describe_mismatch
from models.networks.collection import EMA_SUFFIX, Vid2VidModels
from util.distributed.optimizer import AmpOptimizer
from util.errors import UserError
from util.io.atomic import recover_interrupted_write
from util.io.state_dict import (
    load_state_dict_partial,
    load_state_dict_strict,
    safe_load_dict,
    safe_load_state_dict,
    save_files_atomically,
)
from util.runtime.random_state import get_random_states, restore_random_states

LATEST_STATE_FILE, PREVIOUS_STATE_FILE = "latest_state.pth", "previous_state.pth"
_RESUME_FLAGS = "--continue_train, --name, --checkpoints_dir"
_RUN_FLAGS = "--name, --checkpoints_dir, --which_epoch, --use_ema"


@dataclass(frozen=True)
class RunState:
    """Where a run stands. epoch: from 1. step: batches done in it. batch_size: clips of a batch. best: the highest
    figure on held-out clips so far (`Trainer.best_by`)."""

    epoch: int = 1
    step: int = 0
    batch_size: int = 1
    best: float = float("-inf")

    @property
    def n_epoch_clips(self) -> int:
        """Done in this epoch."""
        return self.step * self.batch_size

    def with_batch_size(self, batch_size: int) -> RunState:
        """The same place, or the last before it, counted in other batches."""
        return replace(self, step=self.n_epoch_clips // batch_size, batch_size=batch_size)


def get_weights_path(folder: Path, epoch_label: str, name: str) -> Path:
    return folder / f"{epoch_label}_net_{name}.pth"


def _collect_weights(epoch_label: str, networks: Vid2VidModels) -> dict[str, object]:
    """By file name."""
    return {
        get_weights_path(Path(), epoch_label, name).name: network.state_dict()
        for name, network in networks.named_networks().items()
    }


def save_weights(folder: Path, epoch_label: str, networks: Vid2VidModels) -> None:
    """The weights alone, under `label`."""
    save_files_atomically(folder, _collect_weights(epoch_label, networks))


def prune_epochs(folder: Path, max_kept_epochs: int) -> None:
    """Removes the weights of all epochs but the last `keep`. Labels that are no numbers stay."""
    files: dict[int, list[Path]] = {}
    for path in folder.iterdir():
        if found := re.fullmatch(r"(\d+)_net_\w+\.pth", path.name):
            files.setdefault(int(found[1]), []).append(path)
    for epoch in sorted(files)[:-max_kept_epochs]:
        for path in files[epoch]:
            path.unlink()


def save_latest(
    folder: Path,
    networks: Vid2VidModels,
    optimizers: Mapping[str, AmpOptimizer],
    run: RunState,
    options: Mapping[str, str],
) -> None:
    """The state that `--continue_train` needs, whole in one file, and the weights of `latest` beside it."""
    state = {
        "run": asdict(run),
        "random": get_random_states(),
        "options": dict(options),
        "networks": {
            name: network.state_dict() for name, network in networks.named_networks().items()
        },
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
    }
    save_files_atomically(
        folder,
        {
            LATEST_STATE_FILE: state,
            **_collect_weights("latest", networks),
            "iter.txt": f"{run.epoch}\n{run.n_epoch_clips}\n",
        },
    )


def describe_last_checkpoint(folder: Path) -> str:
    """Where the state of a run in `folder` stands, in words."""
    try:
        recover_interrupted_write(folder)
        epoch, clips = (folder / "iter.txt").read_text().split()
    except (OSError, ValueError):
        return f"{folder} holds no state that can be read now"
    return (
        f"the last save, epoch {epoch} after {clips} clips, is whole: {folder / LATEST_STATE_FILE}"
    )


@contextmanager
def write_errors_explained(folder: Path) -> Iterator[None]:
    """A disk that is full, read-only or gone ends the run with a UserError that says what is left of it."""
    try:
        yield
    except OSError as fault:
        raise UserError(
            f"{folder} cannot be written: {fault}; {describe_last_checkpoint(folder)}; mend the disk, then give the same "
            "flags and --continue_train"
        ) from fault


def archive_previous_run(folder: Path) -> list[str]:
    """Before a new run in the folder of an old one: keeps that one's state under another name, and says so."""
    recover_interrupted_write(folder)
    if not (folder / LATEST_STATE_FILE).is_file():
        return []
    (folder / LATEST_STATE_FILE).replace(folder / PREVIOUS_STATE_FILE)
    return [
        f"{folder} held a run: its state is now {PREVIOUS_STATE_FILE}; to go on with it instead, rename it to {LATEST_STATE_FILE} and "
        "give --continue_train"
    ]


def read_training_state(folder: Path) -> dict[str, Any]:
    """UserError where the run has no state, or one that is broken or of another program."""
    recover_interrupted_write(folder)
    state = safe_load_dict(folder / LATEST_STATE_FILE, _RESUME_FLAGS)
    if missing := {"run", "random", "options", "networks", "optimizers"} - set(state):
        raise UserError(
            f"{folder / LATEST_STATE_FILE} lacks {', '.join(sorted(missing))}: it is no saved state of this program"
        )
    return state


def restore_checkpoint(
    folder: Path,
    state: Mapping[str, Any],
    networks: Vid2VidModels,
    optimizers: Mapping[str, AmpOptimizer],
) -> RunState:
    """Puts the state of `read_state` back and says where the run stands."""
    for part, own in (("networks", networks.named_networks()), ("optimizers", optimizers)):
        if set(state[part]) != set(own):
            raise UserError(
                f"{folder / LATEST_STATE_FILE} holds the {part} {', '.join(state[part])}, these options make "
                f"{', '.join(own)}: give the flags that the run was started with"
            )
    for name, network in networks.named_networks().items():
        load_network(network, state["networks"][name], f"{folder / LATEST_STATE_FILE} ({name})")
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    restore_random_states(state["random"])
    return RunState(**state["run"])


def load_network(network: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Strictly: UserError names the weights that do not fit, and the flags that would explain it."""
    load_state_dict_strict(
        network, state_dict, source, hint=describe_mismatch(network.state_dict(), state_dict)
    )


def load_generators(
    generators: nn.ModuleList,
    folder: Path,
    epoch_label: str,
    allow_partial: bool = False,
    uses_ema: bool = False,
) -> list[str]:
    """All generators of a run, strictly. partial: `--allow_partial`, what fits; returns what that was, a line each.
    averaged: their running averages (`--ema`)."""
    recover_interrupted_write(folder)
    finer = get_weights_path(folder, epoch_label, f"G{len(generators)}")
    if finer.is_file() and not allow_partial:
        raise UserError(
            f"{finer} refines what {len(generators)} network(s) paint, which are all that --n_scales_spatial "
            f"{len(generators)} makes: raise it, or remove the file if it is of another run"
        )
    kind = EMA_SUFFIX if uses_ema else ""
    return [
        line
        for index, network in enumerate(generators)
        for line in _load_generator_file(
            network,
            get_weights_path(folder, epoch_label, f"G{index}{kind}"),
            _RUN_FLAGS,
            allow_partial,
        )
    ]


def _load_generator_file(
    network: nn.Module, path: Path, flag: str, allow_partial: bool
) -> list[str]:
    weights = safe_load_state_dict(path, flag)
    if allow_partial:
        return [load_state_dict_partial(network, weights, str(path))]
    load_network(network, weights, str(path))
    return []


def _get_scale_prefix(key: str) -> str:
    """`scale0` of scale0_layer1.0.weight, `layer0` of layer0.2.weight: each scale of a discriminator is a network."""
    return key.split(".")[0].split("_")[0]


def select_matching_scales(
    current: Mapping[str, Tensor], loaded: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """A discriminator's weights with every scale that `found` has in the same shapes taken over, and the others."""
    taken, fresh = dict(current), []
    for scale in dict.fromkeys(map(_get_scale_prefix, current)):
        keys = [key for key in current if _get_scale_prefix(key) == scale]
        if all(key in loaded and loaded[key].shape == current[key].shape for key in keys):
            taken |= {key: loaded[key] for key in keys}
        else:
            fresh.append(scale)
    return taken, fresh


def load_pretrained(
    networks: Vid2VidModels, folder: Path, epoch_label: str, allow_partial: bool = False
) -> list[str]:
    """Weights of another run or of a coarser stage, as far as it has them; what starts fresh, a line each.

    The coarsest generator must be there, and none may be of another shape (partial, `--allow_partial`: what fits):
    UserError.
    """
    recover_interrupted_write(folder)
    fresh, coarsest = [], next(iter(networks.named_networks()))
    for name, network in networks.named_networks().items():
        path = get_weights_path(folder, epoch_label, name)
        if (
            name.endswith(EMA_SUFFIX) and not path.is_file()
        ):  # an average begins where its generator does
            path = get_weights_path(folder, epoch_label, name.removesuffix(EMA_SUFFIX))
        if name == coarsest or path.is_file() and name.startswith("G"):
            fresh += _load_generator_file(network, path, "--load_pretrain", allow_partial)
        elif not path.is_file():
            fresh.append(f"{name} starts fresh: {folder} has no {path.name}")
        else:
            state, scales = select_matching_scales(
                network.state_dict(), safe_load_state_dict(path, "--load_pretrain")
            )
            network.load_state_dict(state)
            fresh += [
                f"{name} {scale} starts fresh: {path.name} has none of this shape"
                for scale in scales
            ]
    return fresh
