"""A smaller generator taught by a trained one (knowledge distillation): both paint every window, each from its past.

The student is held to the teacher's images beside the real ones: what a network has painted, a network can paint.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.checkpoint import load_generators
from models.losses.vid2vid import (
    GeneratedWindow,
    LossConfig,
    Losses,
    PerceptualDistance,
    flatten_time,
    sum_losses,
)
from models.networks.generators import GeneratorConfig, build_generator
from models.networks.rollout import History, RolloutConfig, rollout
from models.networks.sparse_labels import Condition
from util.distributed.amp import promote_to_float32


def load_teacher(config: GeneratorConfig, folder: Path) -> nn.ModuleList:
    """The generators of the run in `folder`, which learn nothing any more. UserError: they are not there, or others."""
    teacher = build_generator(config)
    load_generators(teacher, folder, "latest")
    return teacher.eval().requires_grad_(False)


@torch.no_grad()
def generate_teacher_images(
    teacher: nn.ModuleList, condition: Condition, history: History, config: RolloutConfig
) -> tuple[Tensor, History]:
    """What the teacher makes of a window: (B, T + tG - 1, C, H, W) -> images (B, T, 3, H, W), and its own history
    after them."""
    frames, history = rollout(teacher, condition, history, config)
    return frames.image, history


def compute_distillation_losses(
    perceptual_loss: PerceptualDistance | None, window: GeneratedWindow, config: LossConfig
) -> Losses:
    """G_Distill: how far the window is from the teacher's, in levels and, where there is VGG, in features."""
    assert window.teacher_images is not None
    taught, painted = (
        flatten_time(window.teacher_images),
        [flatten_time(x) for x in config.select_scored_images(window.output)],
    )
    missed = [F.l1_loss(promote_to_float32(x), taught) for x in painted]
    if perceptual_loss is not None:
        missed += [perceptual_loss(x, taught) for x in painted]
    return Losses({"G_Distill": sum_losses(missed) * config.lambda_distill})
