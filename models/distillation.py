"""A smaller generator taught by a trained one (knowledge distillation): both paint every window, each from its past.

The student is held to the teacher's pictures beside the real ones: what a network has painted, a network can paint.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generators import GeneratorConfig, build_generator
from models.labels import Condition
from models.objectives import ObjectiveConfig, Perceptual, Terms, Window, flat, sum_of
from models.rollout import History, RolloutConfig, rollout
from models.saving import load_generator
from util.placement.precision import widened


def load_teacher(config: GeneratorConfig, folder: Path) -> nn.ModuleList:
    """The generators of the run in `folder`, which learn nothing any more. UserError: they are not there, or others."""
    teacher = build_generator(config)
    load_generator(teacher, folder, "latest")
    return teacher.eval().requires_grad_(False)


@torch.no_grad()
def teach(teacher: nn.ModuleList, condition: Condition, history: History,
          config: RolloutConfig) -> tuple[Tensor, History]:
    """What the teacher makes of a window: (B, T + tG - 1, C, H, W) -> pictures (B, T, 3, H, W), and its own history
    after them."""
    frames, history = rollout(teacher, condition, history, config)
    return frames.picture, history


def distillation_terms(perceptual: Perceptual | None, window: Window, config: ObjectiveConfig) -> Terms:
    """G_Distill: how far the window is from the teacher's, in levels and, where there is VGG, in features."""
    assert window.taught is not None
    taught, painted = flat(window.taught), [flat(x) for x in config.judged(window.frames)]
    missed = [F.l1_loss(widened(x), taught) for x in painted]
    if perceptual is not None:
        missed += [perceptual(x, taught) for x in painted]
    return Terms({"G_Distill": sum_of(missed) * config.lambda_distill})
