"""Files that survive: written whole or not at all, read strictly and without running code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from util.errors import UserError
from util.files import replacing


def save_set(files: Mapping[Path, object]) -> None:
    """Files that belong together: none takes its place before all of them are written."""
    with ExitStack() as stack:
        for path, content in files.items():
            torch.save(content, stack.enter_context(replacing(path)))


def read_file(path: Path, flag: str) -> dict[str, Any]:
    """A saved dict of tensors, numbers and text. Nothing in it is executed. UserError names the flag to mend."""
    if not path.is_file():
        raise UserError(f"{path} is not there: give an existing file ({flag})")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as problem:
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise UserError(f"{path} is not a file of weights: {reason} ({flag})") from None
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__}, expected a dict of weights ({flag})")
    return state


def read_weights(path: Path, flag: str) -> dict[str, Tensor]:
    """A file with one network's state dict. UserError names what is none."""
    state = read_file(path, flag)
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{path} holds {key!r} -> {type(value).__name__}, expected named weights only ({flag})")
    return state


def _listed(title: str, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} {title}: {', '.join(names[:3])}{more}" if names else ""


def differences(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """What keeps a state dict from being this network's, in words; '' when nothing does."""
    own = network.state_dict()
    shapes = [f"{key} {tuple(value.shape)} here, {tuple(state[key].shape)} in the file"
              for key, value in own.items() if key in state and state[key].shape != value.shape]
    found = (_listed("missing", [key for key in own if key not in state]),
             _listed("unexpected", [key for key in state if key not in own]), _listed("of another shape", shapes))
    return "; ".join(filter(None, found))


def load_state(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Strictly: UserError lists what is missing, unexpected or of another shape."""
    if wrong := differences(network, state):
        raise UserError(f"the weights of {source} are another network's: {wrong}: "
                        "give the flags that it was trained with (ngf, n_blocks, n_scales_spatial, norm, ...)")
    network.load_state_dict(dict(state))


def load_weights(network: nn.Module, path: Path, flag: str) -> None:
    """A file with one network's state dict into the network. UserError for the user to mend."""
    load_state(network, read_weights(path, flag), str(path))
