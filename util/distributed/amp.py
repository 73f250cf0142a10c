"""How exactly numbers are kept (`--amp`, `--tf32`, `--cudnn`): half precision where it is safe, else float32.

Convolutions run in half precision. Statistics of norms accumulate in float32 inside torch's kernels; heads of flow and
weight, warps and losses get float32 through `full_precision` and `widened`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.amp import GradScaler

_Result = TypeVar("_Result")

AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """amp: off, bf16 or fp16, on devices of this type."""

    amp: str
    device_type: str

    def autocast(self) -> AbstractContextManager:
        """Around everything from the networks to the losses, but not around the way back."""
        return (
            torch.autocast(self.device_type, AMP_DTYPES[self.amp])
            if self.amp != "off"
            else nullcontext()
        )

    def autocast_disabled(self) -> AbstractContextManager:
        """Float32 again, inside `autocast`."""
        return torch.autocast(self.device_type, enabled=False)

    @property
    def uses_grad_scaler(self) -> bool:
        """Whether gradients are scaled, and overflow now and then: fp16 alone has so small a range."""
        return self.amp == "fp16"

    @property
    def memory_format(self) -> torch.memory_format:
        """Of weights: channels_last where tensor cores compute in half precision, which read that alone (no GPU was at
        hand to try it). `models.ops.dispatch` lays out images."""
        return torch.channels_last if self.is_half_on_gpu else torch.preserve_format

    @property
    def is_half_on_gpu(self) -> bool:
        return self.device_type == "cuda" and self.amp != "off"

    def make_grad_scaler(self) -> GradScaler:
        """For one optimiser; it passes everything through where nothing needs scaling."""
        return GradScaler(self.device_type, enabled=self.uses_grad_scaler)


def promote_to_float32(x: Tensor) -> Tensor:
    """In float32 at least: what sums, squares and differences of half precision need."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def run_in_float32(layer: Callable[[Tensor], _Result], x: Tensor) -> _Result:
    """layer(x) in float32 at least, also where half precision reigns around: for what counts pixels."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(promote_to_float32(x))


def set_backend_flags(tf32: str, cudnn: str) -> str:
    """For the whole program; returns what was set in words.

    tf32: on or off, for convolutions on NVIDIA GPUs (matrix products, such as a flow network's correlation, stay in
    float32). cudnn: `heuristic` choice of kernels, `benchmark` to time them for every new size, `deterministic` for
    runs that repeat bit for bit.
    """
    torch.backends.cudnn.allow_tf32 = tf32 == "on"
    torch.backends.cudnn.benchmark = cudnn == "benchmark"
    torch.backends.cudnn.deterministic = cudnn == "deterministic"
    return f"TF32 {tf32}, cuDNN {cudnn}"
