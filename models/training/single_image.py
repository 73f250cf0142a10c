"""Training of a single-image network with the losses of pix2pixHD (`--model single`).

Its clips are one frame long, so a window passes nothing on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from models.inference.instance_features import encode_feature_maps
from models.losses.vid2vid import (
    LossConfig,
    Losses,
    PerceptualDistance,
    compute_image_losses,
    compute_perceptual_losses,
)
from models.networks.discriminators import MultiScaleDiscriminator
from models.networks.input_encoding import ConditionConfig
from models.networks.pix2pixhd import Encoder
from models.training.forward import ClipState, StepOutput
from models.training.schedule import EpochSettings
from util.clip import Clip
from util.distributed.amp import promote_to_float32
from util.images.visualization import tensor_to_image


@dataclass(frozen=True)
class GeneratedImage:
    """A generated image and the real one, (B, T=1, 3, H, W)."""

    fake: Tensor
    real: Tensor

    def apply(self, fn: Callable[[Tensor], Tensor]) -> GeneratedImage:
        """Return the images with each replaced by fn(image)."""
        return GeneratedImage(fn(self.fake), fn(self.real))


@dataclass(frozen=True)
class SingleImageForward:
    """The forward pass and the losses of a single-image network.

    Attributes:
        netG: The network.
        netD: The image discriminator.
        netE: Encodes instance features, or None.
        perceptual_loss: The perceptual distance, or None.
        conditions: How conditions are encoded.
        loss_config: Settings of the losses.
        condition_to_image: Draws a condition (C, H, W), as it was read, as an image.
    """

    netG: nn.Module
    netD: MultiScaleDiscriminator
    netE: Encoder | None
    perceptual_loss: PerceptualDistance | None
    conditions: ConditionConfig
    loss_config: LossConfig
    condition_to_image: Callable[[Tensor], np.ndarray]

    def __call__(self, window: Clip, state: None, settings: EpochSettings) -> StepOutput:
        """Generate one frame from its condition and the features of the real one; compute losses."""
        assert window.image is not None
        condition, real = self.conditions.encode_dense(window), window.image
        features = [] if self.netE is None else [encode_feature_maps(self.netE, window)[:, 0]]
        fake = promote_to_float32(self.netG(condition[:, 0], *features)).unsqueeze(1)
        return StepOutput(
            losses={"D": self.compute_losses(condition, real, fake)},
            state=ClipState(n_generated=1),
            fake=fake,
            real=real,
            generated=GeneratedImage(fake, real),
        )

    def compute_losses(self, condition: Tensor, real: Tensor, fake: Tensor) -> Losses:
        """Compute adversarial, feature matching and perceptual losses of images (B, T=1, 3, H, W)."""
        fakes = [(fake, 1)]
        losses = compute_image_losses(self.netD, condition, real, fakes, self.loss_config)
        if self.perceptual_loss is not None:
            losses |= compute_perceptual_losses(self.perceptual_loss, real, fakes, self.loss_config)
        return losses

    def visualize(self, window: Clip, output: StepOutput) -> dict[str, np.ndarray]:
        """Return images of the first clip, by name."""
        return {
            "condition": self.condition_to_image(window.condition[0, 0].cpu()),
            "generated": tensor_to_image(output.generated.fake[0, 0]),
            "real": tensor_to_image(output.generated.real[0, 0]),
        }
