"""Numerical precision (`--amp`, `--tf32`, `--cudnn`): half precision where it is safe, else float32.

Convolutions run in half precision. torch's norms accumulate their statistics in float32. The heads for flow and blend
weight, warps and losses run in float32, by `run_in_float32` and `promote_to_float32`.
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
    """Precision on one type of device.

    Attributes:
        amp: off, bf16 or fp16.
        device_type: Type of the devices.
    """

    amp: str
    device_type: str

    def autocast(self) -> AbstractContextManager:
        """Return the context for forward passes and losses, not for the backward pass."""
        if self.amp == "off":
            return nullcontext()
        return torch.autocast(self.device_type, AMP_DTYPES[self.amp])

    def autocast_disabled(self) -> AbstractContextManager:
        """Return the context for float32 inside `autocast`."""
        return torch.autocast(self.device_type, enabled=False)

    @property
    def uses_grad_scaler(self) -> bool:
        """Whether losses are scaled, and steps with an overflow skipped: fp16 alone has so small a range."""
        return self.amp == "fp16"

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of weights: channels_last for tensor cores, which compute in half precision.

        `models.ops.dispatch` converts the inputs of networks.
        """
        return torch.channels_last if self.is_half_on_gpu else torch.preserve_format

    @property
    def is_half_on_gpu(self) -> bool:
        """Whether convolutions run in half precision on a GPU."""
        return self.device_type == "cuda" and self.amp != "off"

    def make_grad_scaler(self) -> GradScaler:
        """Build the gradient scaler of one optimizer. It changes nothing where nothing needs scaling."""
        return GradScaler(self.device_type, enabled=self.uses_grad_scaler)


def promote_to_float32(x: Tensor) -> Tensor:
    """Cast half precision to float32, for sums, squares and differences. Keep other types."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def run_in_float32(layer: Callable[[Tensor], _Result], x: Tensor) -> _Result:
    """Return layer(x) computed at least in float32, also inside `Precision.autocast`."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(promote_to_float32(x))


def set_backend_flags(tf32: str, cudnn: str) -> str:
    """Set torch's flags for the whole program and return a summary.

    Args:
        tf32: "on" or "off", for convolutions on NVIDIA GPUs. Matrix products, such as a flow network's correlation,
            stay in float32.
        cudnn: "heuristic" choice of kernels, "benchmark" to time them for each new size, or "deterministic" for runs
            that repeat bit for bit.
    """
    torch.backends.cudnn.allow_tf32 = tf32 == "on"
    torch.backends.cudnn.benchmark = cudnn == "benchmark"
    torch.backends.cudnn.deterministic = cudnn == "deterministic"
    return f"TF32 {tf32}, cuDNN {cudnn}"
