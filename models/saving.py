"""A run's files under checkpoints/NAME (SPEC 10): one state to resume from, and weights that people exchange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.networks import AVERAGED, Networks
from util.checkpoint import load_state, load_weights, read_file, read_weights, save_set
from util.errors import UserError
from util.files import replacing
from util.placement.stepping import Stepper
from util.seeds import random_states, restore_random_states

STATE = "latest_state.pth"


@dataclass(frozen=True)
class RunState:
    """Where a run stands. epoch: from 1. step: batches done in it. batch_size: clips of a batch. best: the highest
    SSIM on held-out clips so far."""

    epoch: int = 1
    step: int = 0
    batch_size: int = 1
    best: float = float("-inf")

    @property
    def clips(self) -> int:
        """Done in this epoch."""
        return self.step * self.batch_size


def weight_file(folder: Path, label: str, name: str) -> Path:
    return folder / f"{label}_net_{name}.pth"


def save_epoch(folder: Path, label: str, networks: Networks) -> None:
    """The weights alone, under `label`."""
    save_set({weight_file(folder, label, name): network.state_dict() for name, network in networks.named().items()})


def save_latest(folder: Path, networks: Networks, optimizers: Mapping[str, Stepper], run: RunState,
                options: Mapping[str, str]) -> None:
    """The state that `--continue_train` needs, whole in one file, and the weights of `latest` beside it."""
    weights = {name: network.state_dict() for name, network in networks.named().items()}
    state = {
        "run": asdict(run), "random": random_states(), "options": dict(options), "networks": weights,
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()}}
    save_set({folder / STATE: state})
    save_set({weight_file(folder, "latest", name): value for name, value in weights.items()})
    with replacing(folder / "iter.txt") as temporary:
        temporary.write_text(f"{run.epoch}\n{run.clips}\n")


def read_state(folder: Path) -> dict[str, Any]:
    """UserError where the run has no state, or one that is broken or of another program."""
    state = read_file(folder / STATE, "--continue_train, --name, --checkpoints_dir")
    if missing := {"run", "random", "options", "networks", "optimizers"} - set(state):
        raise UserError(f"{folder / STATE} lacks {', '.join(sorted(missing))}: it is no saved state of this program")
    return state


def resume(folder: Path, networks: Networks, optimizers: Mapping[str, Stepper]) -> RunState:
    """Puts the saved state back and says where the run stands."""
    state = read_state(folder)
    for part, own in (("networks", networks.named()), ("optimizers", optimizers)):
        if set(state[part]) != set(own):
            raise UserError(f"{folder / STATE} holds the {part} {', '.join(state[part])}, these options make "
                            f"{', '.join(own)}: give the flags that the run was started with")
    for name, network in networks.named().items():
        load_state(network, state["networks"][name], f"{folder / STATE} ({name})")
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    restore_random_states(state["random"])
    return RunState(**state["run"])


def load_generator(networks: nn.ModuleList, folder: Path, label: str, averaged: bool = False) -> None:
    """All generators of a run, strictly. averaged: their running averages (`--ema`)."""
    for index, network in enumerate(networks):
        name = f"G{index}{AVERAGED if averaged else ''}"
        load_weights(network, weight_file(folder, label, name), "--use_ema, --name, --checkpoints_dir, --which_epoch")


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


def load_pretrained(networks: Networks, folder: Path, label: str) -> list[str]:
    """Weights of another run or of a coarser stage, as far as it has them; what starts fresh, a line each.

    The generator G0 must be there, and none may be of another shape: UserError.
    """
    fresh = []
    for name, network in networks.named().items():
        path = weight_file(folder, label, name)
        if name.endswith(AVERAGED) and not path.is_file():  # an average begins where its generator does
            path = weight_file(folder, label, name.removesuffix(AVERAGED))
        if name == "G0" or path.is_file() and name.startswith("G"):
            load_weights(network, path, "--load_pretrain")
        elif not path.is_file():
            fresh.append(f"{name} starts fresh: {folder} has no {path.name}")
        else:
            state, scales = fitting_scales(network.state_dict(), read_weights(path, "--load_pretrain"))
            network.load_state_dict(state)
            fresh += [f"{name} {scale} starts fresh: {path.name} has none of this shape" for scale in scales]
    return fresh


def changed_options(saved: Mapping[str, str], now: Mapping[str, str], besides: Iterable[str]) -> list[str]:
    """Options that differ from the saved run's, in words."""
    return [f"--{key}: {saved.get(key)} in the saved run, {value} now" for key, value in now.items()
            if key not in besides and saved.get(key) != value]
