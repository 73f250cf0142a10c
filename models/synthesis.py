"""From conditions to pictures, frame by frame in constant memory (SPEC 7), by the same step as training."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.appearance import Looks, painted
from models.blocks import apart, condition_pyramid
from models.conditions import ConditionConfig, pad_clip
from models.first_frame import FirstPictures
from models.labels import Condition, joined
from models.rollout import History, Step, step
from util.clip import Clip
from util.placement.precision import Precision


@dataclass(frozen=True)
class SynthesisConfig:
    """n_frames: tG. size_multiple: what the networks need sides to divide by; others are padded and cropped back.
    begin_with_zeros: `no_first_img`, so a sequence's first frame is `raw` alone. looks: of regions, for networks with
    features; faces: whether the regions are parts of faces. amp: half precision of the networks' convolutions, as in
    training (`util.placement.precision`). step: how a frame is made, plainly or by `models.compiled`."""

    conditions: ConditionConfig
    n_frames: int
    size_multiple: int
    begin_with_zeros: bool
    looks: Looks | None = None
    faces: bool = False
    amp: str = "off"
    step: Step = step

    def see(self, clip: Clip) -> Condition:
        """(B, T, C, H, W) as the generator sees it."""
        return self.conditions.see(clip, None if self.looks is None else painted(self.looks, clip, self.faces))


@dataclass(frozen=True)
class View:
    """What the networks see of a frame that they are to paint.

    clip: the frame as it came, T = 1. conditions: its own and those of the tG-1 frames before it, per scale, the finest
    first, (B, tG, C, h, w). begin: the first pictures of a sequence, for the first frame after them.
    """

    clip: Clip
    conditions: tuple[Condition, ...]
    begin: History | None = None


def views(frames: Iterable[Clip], first: FirstPictures, config: SynthesisConfig, scales: int,
          device: torch.device) -> Iterator[View]:
    """A sequence's frames (B, T=1 each) -> what is seen from the tG-th on."""
    given: list[Clip] = []
    seen: deque[tuple[Condition, ...]] = deque(maxlen=config.n_frames)
    for number, frame in enumerate(frames, 1):
        needed = frame if number < config.n_frames else replace(frame, picture=None)  # real ones are for first pictures
        padded = pad_clip(needed.to(device), config.size_multiple)
        seen.append(condition_pyramid(config.see(padded), scales))
        if number < config.n_frames:
            given.append(padded)
            continue
        begin = History.begin(first(given), scales) if number == config.n_frames else None
        yield View(frame, tuple(joined(level) for level in zip(*seen, strict=True)), begin)


def painted_frame(networks: nn.ModuleList, conditions: Sequence[Condition], history: History, begins: bool,
                  config: SynthesisConfig, device: torch.device) -> tuple[Tensor, History]:
    """The picture (B, 3, H, W), and the pictures that the next frame sees. Videos of a batch do not see each other."""
    with Precision(config.amp, device.type).autocast(), apart(networks):
        made, pictures = config.step(networks, conditions, history, raw_only=begins and config.begin_with_zeros)
    return made.picture, history.push(pictures)


@torch.no_grad()
def synthesise(networks: nn.ModuleList, frames: Iterable[Clip], first: FirstPictures, config: SynthesisConfig,
               device: torch.device) -> Iterator[tuple[Clip, Tensor]]:
    """A sequence's frames (B, T=1 each) -> each frame from the tG-th on, with its picture (B, 3, H, W) in [-1, 1].

    Videos of a batch, all equally long, are each as it would be alone; for others `models.together`.
    """
    history = None
    for view in views(frames, first, config, len(networks), device):
        history = view.begin or history
        assert history is not None
        picture, history = painted_frame(networks, view.conditions, history, view.begin is not None, config, device)
        yield view.clip, unpadded(picture, view.clip)


def unpadded(picture: Tensor, clip: Clip) -> Tensor:
    """The part that the clip shows."""
    height, width = clip.condition.shape[-2:]
    return picture[..., :height, :width]
