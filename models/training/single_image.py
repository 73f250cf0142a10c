"""Training a single-image network (pix2pixHD's objective): the trainer whose clips are one frame long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from models.inference.instance_features import encode_feature_maps
from models.losses.temporal_groups import FrameGroups
from models.losses.vid2vid import GeneratedWindow, compute_image_losses, compute_perceptual_losses
from models.networks.generators import GeneratorOutput
from models.networks.rollout import History
from models.training.device_groups import DeviceGroupModels
from models.training.schedule import EpochSettings
from models.training.trainer import LossesByOptimizer, Trainer, TrainStepResult
from util.clip import Clip
from util.distributed.amp import promote_to_float32
from util.images.visualization import tensor_to_image


@dataclass(frozen=True)
class SingleImageTrainer(Trainer):
    """Everything of a run, an epoch and a step is the video trainer's; nothing moves, so nothing is remembered."""

    def generate(
        self,
        group_models: DeviceGroupModels,
        clip: Clip,
        window: Clip,
        start: int,
        settings: EpochSettings,
        history: History | None,
    ) -> tuple[GeneratedWindow, History]:
        """The frame as the network paints it from its condition, and from how its regions really look."""
        assert window.image is not None
        condition = self.config.conditions.encode_dense(window)
        features = (
            [encode_feature_maps(group_models.encoder, window)[:, 0]]
            if group_models.encoder
            else []
        )
        image = promote_to_float32(
            group_models.generators[0][0](condition[:, 0], *features).unsqueeze(1)
        )
        view = GeneratedWindow(
            condition=condition,
            real=window.image,
            real_prev=window.image,
            output=GeneratorOutput(image, image, None, None),
            fake_prev=image.detach(),
            reference_flow=self.estimate_flow(
                group_models, clip, [(0, 0)], window.image, window.image
            ),
        )
        return view, History(())

    def compute_losses(
        self,
        group_models: DeviceGroupModels,
        clip: Clip,
        window: GeneratedWindow,
        groups: list[FrameGroups | None],
    ) -> LossesByOptimizer:
        """Adversarial loss, feature matching and VGG, once for each image."""
        (judge,) = group_models.discriminators[:1]
        assert judge.networks.netD is not None
        terms = compute_image_losses(judge.networks.netD, window, self.config.losses)
        if judge.perceptual_loss is not None:
            terms |= compute_perceptual_losses(judge.perceptual_loss, window, self.config.losses)
        return {"D": terms}

    def make_display_images(self, result: TrainStepResult) -> dict[str, np.ndarray]:
        def first(images: Tensor) -> np.ndarray:
            return tensor_to_image(images[0, 0])

        window = result.window
        return {
            "condition": self.condition_to_image(result.clip.condition[0, 0].cpu()),
            "generated": first(window.output.image),
            "real": first(window.real),
        }
