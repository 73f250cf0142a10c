"""Knowledge distillation: a smaller generator learns from the images of a trained one.

Teacher and student both generate every window, each from its own previous frames. The student's
images are compared with the teacher's, besides the losses against the real images.
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
    select_scored_images,
    sum_losses,
)
from models.networks.generators import GeneratorConfig, build_generator
from models.networks.labels import Condition
from models.networks.rollout import History, RolloutConfig, rollout
from util.distributed.amp import promote_to_float32


def load_teacher(config: GeneratorConfig, folder: Path) -> nn.ModuleList:
    """Load the generators of the run in `folder`, frozen.

    Raises:
        UserError: The weights are missing or belong to other networks.
    """
    teacher = build_generator(config)
    load_generators(teacher, folder, "latest")
    return teacher.eval().requires_grad_(False)


@torch.no_grad()
def generate_teacher_images(
    teacher: nn.ModuleList, condition: Condition, history: History, config: RolloutConfig
) -> tuple[Tensor, History]:
    """Generate a window with the teacher.

    Args:
        teacher: The teacher's generators.
        condition: (B, T + n_history, C, H, W).
        history: The teacher's own previous frames.
        config: Settings.

    Returns:
        The images (B, T, 3, H, W) and the teacher's history after them.
    """
    output, history = rollout(teacher, condition, history, config)
    return output.image, history


def compute_distillation_losses(
    perceptual_loss: PerceptualDistance | None, window: GeneratedWindow, config: LossConfig
) -> Losses:
    """Compute the distance to the teacher's images: L1 of pixels, and perceptual if available."""
    assert window.teacher_images is not None
    target = flatten_time(window.teacher_images)
    scored = [
        (flatten_time(images), count)
        for images, count in select_scored_images(window.output, config)
    ]
    distances = [F.l1_loss(promote_to_float32(fake), target) * count for fake, count in scored]
    if perceptual_loss is not None:
        distances += [perceptual_loss(fake, target) * count for fake, count in scored]
    return Losses({"G_Distill": sum_losses(distances) * config.lambda_distill})
