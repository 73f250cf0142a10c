"""Weights drawn from a numpy legacy stream: the same numbers on every machine, so that parity files stay small."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor


def make_random_weights(
    shapes: Iterable[tuple[str, Sequence[int]]], seed: int, gain: float = 1.0
) -> dict[str, Tensor]:
    """A state dict, each tensor from a stream of its own, seeded by `seed` and its key.

    Kernels: normal, gain / sqrt(fan-in), flow heads 20 times smaller. Biases: N(0, 0.1). Norm weights: N(1, 0.1).
    """
    return {key: _make_random_tensor(key, shape, seed, gain) for key, shape in shapes}


def _make_random_tensor(key: str, shape: Sequence[int], seed: int, gain: float) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith("running_mean"):
        return torch.zeros(*shape)
    if key.endswith("running_var"):
        return torch.ones(*shape)
    seed_of_key = (seed * 1000003 + zlib.crc32(key.encode())) % 2**32
    stream = np.random.RandomState(seed_of_key)  # the agreed stream, hence noqa: NPY002
    values = stream.randn(*shape).astype(np.float32)
    if len(shape) == 1:
        values = values * 0.1 + float(key.endswith(".weight"))
    else:
        values *= gain * np.sqrt(1.0 / np.prod(shape[1:])) * (0.05 if "final_flow" in key else 1.0)
    return torch.from_numpy(values)
