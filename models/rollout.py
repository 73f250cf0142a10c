"""The one autoregressive path of training and synthesis (SPEC 7): every frame sees the pictures generated before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.blocks import condition_pyramid, pyramid
from models.generators import Features, Frame
from models.labels import Condition, frames_of
from util.placement.replicas import device_of, equal_runs

Step = Callable[..., tuple[Frame, tuple[Tensor, ...]]]  # `step`, or a way to the same


@dataclass(frozen=True)
class History:
    """The last tG-1 generated pictures at every scale, the finest scale first: (B, tG-1, 3, h, w)."""

    pictures: tuple[Tensor, ...]

    @staticmethod
    def begin(first: Tensor, scales: int) -> History:
        """From the first pictures of a sequence, (B, tG-1, 3, H, W) in [-1, 1]: real, painted or zeros."""
        return History(pyramid(first, scales))

    def push(self, pictures: Sequence[Tensor]) -> History:
        """With the newest picture of every scale, (B, 3, h, w), in and the oldest out."""
        return History(tuple(torch.cat([past[:, 1:], new.unsqueeze(1)], dim=1)
                             for past, new in zip(self.pictures, pictures, strict=True)))

    def video(self, number: int) -> History:
        """One of the batch."""
        return History(tuple(past[number:number + 1] for past in self.pictures))

    @staticmethod
    def stack(videos: Sequence[History]) -> History:
        """One batch of several, of equal sizes."""
        return History(tuple(torch.cat(level) for level in zip(*(video.pictures for video in videos), strict=True)))

    def to(self, device: torch.device) -> History:
        return History(tuple(past.to(device) for past in self.pictures))

    def detach(self) -> History:
        return History(tuple(past.detach() for past in self.pictures))


@dataclass(frozen=True)
class RolloutConfig:
    """n_frames: tG. backpropagate: frames that a gradient passes back through. train_coarse: whether all networks
    learn or only the finest. raw_first: how many of the first frames are `raw` alone (with `no_first_img`).
    start: number, in its window, of the first frame that is to be painted."""

    n_frames: int
    backpropagate: int = 1
    train_coarse: bool = True
    raw_first: int = 0
    start: int = 0


def step(networks: nn.ModuleList, conditions: Sequence[Condition], history: History, *,
         raw_only: bool = False, train_coarse: bool = True) -> tuple[Frame, tuple[Tensor, ...]]:
    """One frame.

    networks: the coarsest first. conditions: the frame's and the tG-1 before it, per scale, the finest first,
    (B, tG, C, h, w). Returns the finest frame, (B, C, H, W), and every scale's picture, to be pushed to the history.
    """
    assert len(networks) == len(conditions) == len(history.pictures)
    pictures: list[Tensor] = []
    coarse: list[Features] = []
    levels = zip(reversed(conditions), reversed(history.pictures), strict=True)
    for network, (condition, past) in zip(networks, levels, strict=True):
        learns = train_coarse or network is networks[-1]
        with nullcontext() if learns else torch.no_grad():
            frame, features = network(condition, past, raw_only, *coarse)
        coarse = [features]
        pictures.insert(0, frame.picture)
    return frame, tuple(pictures)


def rollout(networks: nn.ModuleList, condition: Condition, history: History,
            config: RolloutConfig) -> tuple[Frame, History]:
    """The frames of one training window, or from `config.start` on.

    condition: (B, T + tG - 1, C, H, W), as encoded. Returns frames (B, T, C, H, W) and the history after them.
    """
    levels = condition_pyramid(condition, len(networks))
    if config.start == 0:
        history = history.detach()
    frames = []
    for i in range(condition.shape[1] - config.n_frames + 1):
        seen, t = [frames_of(level, i, i + config.n_frames) for level in levels], config.start + i
        # the cut is of what frame t sees, not of the pictures: a later frame that sees one of them too reaches through
        past = history.detach() if t % config.backpropagate == 0 else history
        frame, pictures = step(networks, seen, past, raw_only=t < config.raw_first, train_coarse=config.train_coarse)
        history = history.push(pictures)
        frames.append(frame)
    return Frame.stack(frames), history


def rollout_in_turn(generators: Sequence[nn.ModuleList], condition: Condition, history: History,
                    config: RolloutConfig) -> tuple[Frame, History]:
    """`rollout`, of which each generator, on its own device, paints an equal run of frames and hands the last tG-1
    pictures to the next. All frames come back to the condition's device."""
    past, home = config.n_frames - 1, condition.device
    painted = []
    runs = equal_runs(condition.shape[1] - past, len(generators))
    for generator, (start, stop) in zip(generators, runs, strict=False):
        device = device_of(generator)
        frames, history = rollout(generator, frames_of(condition, start, stop + past).to(device), history.to(device),
                                  replace(config, start=start))
        painted.append(frames.map(lambda tensor: tensor.to(home)))
    return Frame.concatenate(painted), history.to(home)
