"""One optimiser's way back and step, at any precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer


@dataclass(frozen=True)
class AmpOptimizer:
    """scaler: keeps small gradients of half precision from vanishing; where they overflow, the step is left out and the
    next one scaled less. max_norm: longer gradients are shortened to it; None: never."""

    optimizer: Optimizer
    scaler: GradScaler
    max_norm: float | None = None

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def backward(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> None:
        """Adds to the gradients of these weights alone; the graph stays for other losses."""
        self.scaler.scale(loss).backward(inputs=parameters, retain_graph=True)

    def unscale(self) -> None:
        """Gradients as they are, before anyone looks at them."""
        self.scaler.unscale_(self.optimizer)

    def step(self) -> None:
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters(), self.max_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _parameters(self) -> Iterable[nn.Parameter]:
        return (weight for group in self.param_groups for weight in group["params"])

    def state_dict(self) -> dict[str, Any]:
        scale = {"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}
        return self.optimizer.state_dict() | scale

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """A state of another precision fits too; the scale then starts anew."""
        self.optimizer.load_state_dict(
            {key: value for key, value in state.items() if key != "scaler"}
        )
        if self.scaler.is_enabled() and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
