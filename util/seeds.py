"""Random states: of the whole program at its start, and to save and restore."""

from __future__ import annotations

from typing import Any

import torch


def seed_everything(seed: int) -> None:
    """Weights are drawn from torch's streams; data draws from (seed, epoch, clip) alone and needs none."""
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """What `restore_random_states` takes; tensors only."""
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def restore_random_states(states: dict[str, Any]) -> None:
    """GPUs that the saved run had and this machine has not are left out."""
    torch.set_rng_state(states["torch"])
    for index, state in enumerate(states["cuda"][:torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, index)
