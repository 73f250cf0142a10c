"""The running average of the generator's weights (`--ema`)."""

from __future__ import annotations

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from models.networks.collection import Vid2VidModels


@torch.no_grad()
def update_ema(networks: Vid2VidModels, half_life: float) -> None:
    """Move the average towards the generator, once per window.

    Args:
        networks: `netG_ema` is updated from `netG`.
        half_life: Number of windows after which a window's weight in the average has halved.
    """
    assert networks.netG_ema is not None
    update = get_ema_multi_avg_fn(0.5 ** (1 / half_life))
    update(list(networks.netG_ema.parameters()), list(networks.netG.parameters()), 0)
