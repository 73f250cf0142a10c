"""The one autoregressive path of training and synthesis (SPEC 7): every frame sees the images generated before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.networks.blocks import build_condition_pyramid, build_pyramid
from models.networks.generators import FeatureMaps, GeneratorOutput
from models.networks.sparse_labels import Condition, slice_frames
from util.distributed.replicas import get_module_device, split_evenly

FrameGenerator = Callable[
    ..., tuple[GeneratorOutput, tuple[Tensor, ...]]
]  # `step`, or a way to the same


@dataclass(frozen=True)
class History:
    """The last tG-1 generated images at every scale, the finest scale first: (B, tG-1, 3, h, w)."""

    images: tuple[Tensor, ...]

    @staticmethod
    def from_first_images(first_images: Tensor, n_scales: int) -> History:
        """From the first images of a sequence, (B, tG-1, 3, H, W) in [-1, 1]: real, painted or zeros."""
        return History(build_pyramid(first_images, n_scales))

    def push(self, images: Sequence[Tensor]) -> History:
        """With the newest image of every scale, (B, 3, h, w), in and the oldest out."""
        return History(
            tuple(
                torch.cat([past[:, 1:], new.unsqueeze(1)], dim=1)
                for past, new in zip(self.images, images, strict=True)
            )
        )

    def select(self, index: int) -> History:
        """One of the batch."""
        return History(tuple(past[index : index + 1] for past in self.images))

    @staticmethod
    def stack(histories: Sequence[History]) -> History:
        """One batch of several, of equal sizes."""
        return History(
            tuple(
                torch.cat(level)
                for level in zip(*(video.images for video in histories), strict=True)
            )
        )

    def to(self, device: torch.device) -> History:
        return History(tuple(past.to(device) for past in self.images))

    def detach(self) -> History:
        return History(tuple(past.detach() for past in self.images))


@dataclass(frozen=True)
class RolloutConfig:
    """n_frames: tG. backpropagate: frames that a gradient passes back through. train_coarse: whether all networks
    learn or only the finest. raw_first: how many of the first frames are `raw` alone (with `no_first_img`).
    start: number, in its window, of the first frame that is to be painted."""

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
    """One frame.

    networks: the coarsest first. conditions: the frame's and the tG-1 before it, per scale, the finest first,
    (B, tG, C, h, w). Returns the finest frame, (B, C, H, W), and every scale's image, to be pushed to the history.
    """
    assert len(netG) == len(conditions) == len(history.images)
    images: list[Tensor] = []
    coarse: list[FeatureMaps] = []
    levels = zip(reversed(conditions), reversed(history.images), strict=True)
    for network, (condition, past) in zip(netG, levels, strict=True):
        learns = train_coarse or network is netG[-1]
        with nullcontext() if learns else torch.no_grad():
            frame, features = network(condition, past, no_warp, *coarse)
        coarse = [features]
        images.insert(0, frame.image)
    return frame, tuple(images)


def rollout(
    netG: nn.ModuleList, condition: Condition, history: History, config: RolloutConfig
) -> tuple[GeneratorOutput, History]:
    """The frames of one training window, or from `config.start` on.

    condition: (B, T + tG - 1, C, H, W), as encoded. Returns frames (B, T, C, H, W) and the history after them.
    """
    levels = build_condition_pyramid(condition, len(netG))
    if config.first_frame_index == 0:
        history = history.detach()
    frames = []
    for i in range(condition.shape[1] - config.n_frames_G + 1):
        seen, t = (
            [slice_frames(level, i, i + config.n_frames_G) for level in levels],
            config.first_frame_index + i,
        )
        # the cut is of what frame t sees, not of the images: a later frame that sees one of them too reaches through
        past = history.detach() if t % config.bptt_frames == 0 else history
        frame, images = generate_frame(
            netG, seen, past, no_warp=t < config.n_no_warp_frames, train_coarse=config.train_coarse
        )
        history = history.push(images)
        frames.append(frame)
    return GeneratorOutput.stack(frames), history


def rollout_across_devices(
    netG_replicas: Sequence[nn.ModuleList],
    condition: Condition,
    history: History,
    config: RolloutConfig,
) -> tuple[GeneratorOutput, History]:
    """`rollout`, of which each generator, on its own device, paints an equal run of frames and hands the last tG-1
    images to the next. All frames come back to the condition's device."""
    past, home = config.n_frames_G - 1, condition.device
    painted = []
    runs = split_evenly(condition.shape[1] - past, len(netG_replicas))
    for generator, (start, stop) in zip(netG_replicas, runs, strict=False):
        device = get_module_device(generator)
        frames, history = rollout(
            generator,
            slice_frames(condition, start, stop + past).to(device),
            history.to(device),
            replace(config, first_frame_index=start),
        )
        painted.append(frames.apply(lambda tensor: tensor.to(home)))
    return GeneratorOutput.concatenate(painted), history.to(home)
