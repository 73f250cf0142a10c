"""A run's files under checkpoints/NAME (SPEC 10): one state to resume from, and weights that people exchange."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.fingerprint import explained
from models.networks import AVERAGED, Networks
from util.checkpoint import load_partial, load_state, read_file, read_weights, save_set
from util.errors import UserError
from util.files import settle
from util.placement.stepping import Stepper
from util.seeds import random_states, restore_random_states

STATE, SET_ASIDE = "latest_state.pth", "previous_state.pth"
RESUME = "--continue_train, --name, --checkpoints_dir"
RUN = "--name, --checkpoints_dir, --which_epoch, --use_ema"


@dataclass(frozen=True)
class RunState:
    """Where a run stands. epoch: from 1. step: batches done in it. batch_size: clips of a batch. best: the highest
    figure on held-out clips so far (`Trainer.best_by`)."""

    epoch: int = 1
    step: int = 0
    batch_size: int = 1
    best: float = float("-inf")

    @property
    def clips(self) -> int:
        """Done in this epoch."""
        return self.step * self.batch_size

    def with_batches_of(self, batch_size: int) -> RunState:
        """The same place, or the last before it, counted in other batches."""
        return replace(self, step=self.clips // batch_size, batch_size=batch_size)


def weight_file(folder: Path, label: str, name: str) -> Path:
    return folder / f"{label}_net_{name}.pth"


def _weights(label: str, networks: Networks) -> dict[str, object]:
    """By file name."""
    return {weight_file(Path(), label, name).name: network.state_dict() for name, network in networks.named().items()}


def save_epoch(folder: Path, label: str, networks: Networks) -> None:
    """The weights alone, under `label`."""
    save_set(folder, _weights(label, networks))


def drop_epochs(folder: Path, keep: int) -> None:
    """Removes the weights of all epochs but the last `keep`. Labels that are no numbers stay."""
    files: dict[int, list[Path]] = {}
    for path in folder.iterdir():
        if found := re.fullmatch(r"(\d+)_net_\w+\.pth", path.name):
            files.setdefault(int(found[1]), []).append(path)
    for epoch in sorted(files)[:-keep]:
        for path in files[epoch]:
            path.unlink()


def save_latest(folder: Path, networks: Networks, optimizers: Mapping[str, Stepper], run: RunState,
                options: Mapping[str, str]) -> None:
    """The state that `--continue_train` needs, whole in one file, and the weights of `latest` beside it."""
    state = {
        "run": asdict(run), "random": random_states(), "options": dict(options),
        "networks": {name: network.state_dict() for name, network in networks.named().items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()}}
    save_set(folder, {STATE: state, **_weights("latest", networks), "iter.txt": f"{run.epoch}\n{run.clips}\n"})


def last_saved(folder: Path) -> str:
    """Where the state of a run in `folder` stands, in words."""
    try:
        settle(folder)
        epoch, clips = (folder / "iter.txt").read_text().split()
    except (OSError, ValueError):
        return f"{folder} holds no state that can be read now"
    return f"the last save, epoch {epoch} after {clips} clips, is whole: {folder / STATE}"


@contextmanager
def guarding_saves(folder: Path) -> Iterator[None]:
    """A disk that is full, read-only or gone ends the run with a UserError that says what is left of it."""
    try:
        yield
    except OSError as fault:
        raise UserError(f"{folder} cannot be written: {fault}; {last_saved(folder)}; mend the disk, then give the same "
                        "flags and --continue_train") from fault


def set_aside(folder: Path) -> list[str]:
    """Before a new run in the folder of an old one: keeps that one's state under another name, and says so."""
    settle(folder)
    if not (folder / STATE).is_file():
        return []
    (folder / STATE).replace(folder / SET_ASIDE)
    return [f"{folder} held a run: its state is now {SET_ASIDE}; to go on with it instead, rename it to {STATE} and "
            "give --continue_train"]


def read_state(folder: Path) -> dict[str, Any]:
    """UserError where the run has no state, or one that is broken or of another program."""
    settle(folder)
    state = read_file(folder / STATE, RESUME)
    if missing := {"run", "random", "options", "networks", "optimizers"} - set(state):
        raise UserError(f"{folder / STATE} lacks {', '.join(sorted(missing))}: it is no saved state of this program")
    return state


def resume(folder: Path, state: Mapping[str, Any], networks: Networks,
           optimizers: Mapping[str, Stepper]) -> RunState:
    """Puts the state of `read_state` back and says where the run stands."""
    for part, own in (("networks", networks.named()), ("optimizers", optimizers)):
        if set(state[part]) != set(own):
            raise UserError(f"{folder / STATE} holds the {part} {', '.join(state[part])}, these options make "
                            f"{', '.join(own)}: give the flags that the run was started with")
    for name, network in networks.named().items():
        load_network(network, state["networks"][name], f"{folder / STATE} ({name})")
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    restore_random_states(state["random"])
    return RunState(**state["run"])


def load_network(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Strictly: UserError names the weights that do not fit, and the flags that would explain it."""
    load_state(network, weights, source, hint=explained(network.state_dict(), weights))


def load_generator(networks: nn.ModuleList, folder: Path, label: str, partial: bool = False,
                   averaged: bool = False) -> list[str]:
    """All generators of a run, strictly. partial: `--allow_partial`, what fits; returns what that was, a line each.
    averaged: their running averages (`--ema`)."""
    settle(folder)
    finer = weight_file(folder, label, f"G{len(networks)}")
    if finer.is_file() and not partial:
        raise UserError(f"{finer} refines what {len(networks)} network(s) paint, which are all that --n_scales_spatial "
                        f"{len(networks)} makes: raise it, or remove the file if it is of another run")
    kind = AVERAGED if averaged else ""
    return [line for index, network in enumerate(networks)
            for line in _load_generator(network, weight_file(folder, label, f"G{index}{kind}"), RUN, partial)]


def _load_generator(network: nn.Module, path: Path, flag: str, partial: bool) -> list[str]:
    weights = read_weights(path, flag)
    if partial:
        return [load_partial(network, weights, str(path))]
    load_network(network, weights, str(path))
    return []


def _scale_of(key: str) -> str:
    """`scale0` of scale0_layer1.0.weight, `layer0` of layer0.2.weight: each scale of a discriminator is a network."""
    return key.split(".")[0].split("_")[0]


def fitting_scales(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A discriminator's weights with every scale that `found` has in the same shapes taken over, and the others."""
    taken, fresh = dict(own), []
    for scale in dict.fromkeys(map(_scale_of, own)):
        keys = [key for key in own if _scale_of(key) == scale]
        if all(key in found and found[key].shape == own[key].shape for key in keys):
            taken |= {key: found[key] for key in keys}
        else:
            fresh.append(scale)
    return taken, fresh


def load_pretrained(networks: Networks, folder: Path, label: str, partial: bool = False) -> list[str]:
    """Weights of another run or of a coarser stage, as far as it has them; what starts fresh, a line each.

    The coarsest generator must be there, and none may be of another shape (partial, `--allow_partial`: what fits):
    UserError.
    """
    settle(folder)
    fresh, coarsest = [], next(iter(networks.named()))
    for name, network in networks.named().items():
        path = weight_file(folder, label, name)
        if name.endswith(AVERAGED) and not path.is_file():  # an average begins where its generator does
            path = weight_file(folder, label, name.removesuffix(AVERAGED))
        if name == coarsest or path.is_file() and name.startswith("G"):
            fresh += _load_generator(network, path, "--load_pretrain", partial)
        elif not path.is_file():
            fresh.append(f"{name} starts fresh: {folder} has no {path.name}")
        else:
            state, scales = fitting_scales(network.state_dict(), read_weights(path, "--load_pretrain"))
            network.load_state_dict(state)
            fresh += [f"{name} {scale} starts fresh: {path.name} has none of this shape" for scale in scales]
    return fresh
