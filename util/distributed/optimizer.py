"""An optimizer with gradient scaling and clipping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer


@dataclass(frozen=True)
class AmpOptimizer:
    """An optimizer with gradient scaling and clipping.

    For each update call `zero_grad`, `backward` (once or more), `unscale` and `step` in this order.

    Attributes:
        optimizer: The optimizer.
        scaler: Gradient scaler for fp16. It skips a step whose gradients overflow and reduces the
            scale. Disabled, it passes everything through.
        max_norm: Total norm to which gradients are clipped; None: no clipping.
    """

    optimizer: Optimizer
    scaler: GradScaler
    max_norm: float | None = None

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def backward(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> None:
        """Accumulate gradients in `parameters` only; keep the graph for other optimizers."""
        self.scaler.scale(loss).backward(inputs=parameters, retain_graph=True)

    def unscale(self) -> None:
        """Divide the gradients by the loss scale, as clipping and gradient checks need."""
        self.scaler.unscale_(self.optimizer)

    def step(self) -> None:
        """Clip the gradients, update the parameters and adapt the loss scale."""
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters(), self.max_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _parameters(self) -> Iterable[nn.Parameter]:
        return (parameter for group in self.param_groups for parameter in group["params"])

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state, with the scaler's under `scaler` if it is enabled."""
        scaler = {"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}
        return self.optimizer.state_dict() | scaler

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state, also one saved at another precision; then the loss scale is reset."""
        optimizer_state = {key: value for key, value in state.items() if key != "scaler"}
        self.optimizer.load_state_dict(optimizer_state)
        if self.scaler.is_enabled() and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
