"""Autoregressive generation for training and synthesis: each frame sees the images generated before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.networks.blocks import build_condition_pyramid, build_pyramid
from models.networks.generators import FeatureMaps, GeneratorOutput
from models.networks.labels import Condition, SparseOneHot, slice_frames
from util.distributed.replicas import get_module_device, split_evenly

FrameGenerator = Callable[..., tuple[GeneratorOutput, tuple[Tensor, ...]]]  # as `generate_frame`


@dataclass(frozen=True)
class History:
    """The last n_history = n_frames_G - 1 generated images at every scale.

    Attributes:
        images: (B, n_history, 3, h, w) of each scale, the finest first.
    """

    images: tuple[Tensor, ...]

    @staticmethod
    def from_first_images(first_images: Tensor, n_scales: int) -> History:
        """Build the history at the start of a sequence.

        Args:
            first_images: (B, n_history, 3, H, W) in [-1, 1]: real, generated or zeros.
            n_scales: Number of spatial scales.
        """
        return History(build_pyramid(first_images, n_scales))

    def push(self, images: Sequence[Tensor]) -> History:
        """Return the history with the newest image (B, 3, h, w) of every scale, without the oldest ones."""
        return History(
            tuple(
                torch.cat([previous[:, 1:], image.unsqueeze(1)], dim=1)
                for previous, image in zip(self.images, images, strict=True)
            )
        )

    def select(self, index: int) -> History:
        """Return the history of one sample, as a batch of one."""
        return History(tuple(images[index : index + 1] for images in self.images))

    @staticmethod
    def stack(histories: Sequence[History]) -> History:
        """Concatenate histories of equal sizes to one batch."""
        images_by_scale = zip(*(history.images for history in histories), strict=True)
        return History(tuple(torch.cat(images) for images in images_by_scale))

    def to(self, device: torch.device) -> History:
        """Return a copy on another device."""
        return History(tuple(images.to(device) for images in self.images))

    def detach(self) -> History:
        """Return the history without gradient."""
        return History(tuple(images.detach() for images in self.images))


@dataclass(frozen=True)
class RolloutConfig:
    """Configuration of a rollout.

    Attributes:
        n_frames_G: Frames whose conditions the generator sees at once.
        bptt_frames: Frames through which gradients are propagated back in time.
        train_coarse: Whether all networks are trained, or only the finest.
        n_no_warp_frames: First frames of the window whose image is the raw image (`--no_first_img`).
        first_frame_index: Index, in the window, of the first frame to generate.
    """

    n_frames_G: int
    bptt_frames: int = 1
    train_coarse: bool = True
    n_no_warp_frames: int = 0
    first_frame_index: int = 0


def generate_frame(
    netG: nn.ModuleList,
    conditions: Sequence[Condition],
    history: History,
    *,
    no_warp: bool = False,
    train_coarse: bool = True,
) -> tuple[GeneratorOutput, tuple[Tensor, ...]]:
    """Generate one frame.

    Args:
        netG: The networks, the coarsest first.
        conditions: Conditions of the frame and those before it: (B, n_frames_G, C, h, w) per scale, the finest first.
        history: The previous images.
        no_warp: Whether the raw image is the image.
        train_coarse: Whether all networks are trained, or only the finest.

    Returns:
        The finest frame (B, C, H, W), and the images of all scales, which are to be pushed to the history.
    """
    assert len(netG) == len(conditions) == len(history.images)
    images: list[Tensor] = []
    coarse: list[FeatureMaps] = []
    inputs = zip(reversed(conditions), reversed(history.images), strict=True)
    for network, (condition, previous) in zip(netG, inputs, strict=True):
        takes_sparse = getattr(network, "takes_sparse_conditions", False)
        if isinstance(condition, SparseOneHot) and not takes_sparse:
            condition = condition.to_dense()
        is_trained = train_coarse or network is netG[-1]
        with nullcontext() if is_trained else torch.no_grad():
            output, features = network(condition, previous, no_warp, *coarse)
        coarse = [features]
        images.insert(0, output.image)
    return output, tuple(images)


def rollout(
    netG: nn.ModuleList, condition: Condition, history: History, config: RolloutConfig
) -> tuple[GeneratorOutput, History]:
    """Generate the frames of a training window, or those from `config.first_frame_index` on.

    Args:
        netG: The networks, the coarsest first.
        condition: Encoded condition (B, T + n_history, C, H, W).
        history: The images before the window.
        config: How to generate.

    Returns:
        Frames (B, T, C, H, W), and the history after them.
    """
    pyramid = build_condition_pyramid(condition, len(netG))
    if config.first_frame_index == 0:
        history = history.detach()
    outputs = []
    for i in range(condition.shape[1] - config.n_frames_G + 1):
        t = config.first_frame_index + i
        conditions = [slice_frames(level, i, i + config.n_frames_G) for level in pyramid]
        # Detach only what frame t sees. Gradients of a later frame that sees one of these images pass through it.
        previous = history.detach() if t % config.bptt_frames == 0 else history
        output, images = generate_frame(
            netG,
            conditions,
            previous,
            no_warp=t < config.n_no_warp_frames,
            train_coarse=config.train_coarse,
        )
        history = history.push(images)
        outputs.append(output)
    return GeneratorOutput.stack(outputs), history


def rollout_across_devices(
    netG_replicas: Sequence[nn.ModuleList],
    condition: Condition,
    history: History,
    config: RolloutConfig,
) -> tuple[GeneratorOutput, History]:
    """Generate the frames of a training window in consecutive runs of equal length, one on each replica's device.

    Each replica continues from the last images of the one before.

    Returns:
        Frames and history as `rollout`, on the condition's device.
    """
    n_history, device = config.n_frames_G - 1, condition.device
    runs = split_evenly(condition.shape[1] - n_history, len(netG_replicas))
    outputs = []
    for netG, (start, stop) in zip(netG_replicas, runs, strict=False):
        replica_device = get_module_device(netG)
        output, history = rollout(
            netG,
            slice_frames(condition, start, stop + n_history).to(replica_device),
            history.to(replica_device),
            replace(config, first_frame_index=start),
        )
        outputs.append(output.apply(lambda x: x.to(device)))
    return GeneratorOutput.concatenate(outputs), history.to(device)
