"""Random weights that are the same on every machine, so that parity files need not store them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor


def make_random_weights(
    shapes: Iterable[tuple[str, Sequence[int]]], seed: int, gain: float = 1.0
) -> dict[str, Tensor]:
    """Return a state dict of random tensors, each seeded by `seed` and its key.

    Kernels are normal with a standard deviation of gain / sqrt(fan-in), 20 times smaller in flow
    heads. Biases are N(0, 0.1), weights of norms N(1, 0.1).
    """
    return {key: _make_random_tensor(key, shape, seed, gain) for key, shape in shapes}


def _make_random_tensor(key: str, shape: Sequence[int], seed: int, gain: float) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith("running_mean"):
        return torch.zeros(*shape)
    if key.endswith("running_var"):
        return torch.ones(*shape)
    key_seed = (seed * 1000003 + zlib.crc32(key.encode())) % 2**32
    # The parity files were made with numpy's legacy generator, hence noqa: NPY002
    rng = np.random.RandomState(key_seed)
    values = rng.randn(*shape).astype(np.float32)
    if len(shape) == 1:
        values = values * 0.1 + float(key.endswith(".weight"))
    else:
        scale = 0.05 if "final_flow" in key else 1.0
        values *= gain * np.sqrt(1.0 / np.prod(shape[1:])) * scale
    return torch.from_numpy(values)
