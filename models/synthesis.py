"""From conditions to pictures, frame by frame in constant memory (SPEC 7), by the same step as training."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
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


@torch.no_grad()
def synthesise(networks: nn.ModuleList, frames: Iterable[Clip], first: FirstPictures, config: SynthesisConfig,
               device: torch.device) -> Iterator[tuple[Clip, Tensor]]:
    """A sequence's frames (B, T=1 each) -> each frame from the tG-th on, with its picture (B, 3, H, W) in [-1, 1].

    Videos of a batch do not see each other: each is as it would be alone.
    """
    precision = Precision(config.amp, device.type)
    given: list[Clip] = []
    seen: deque[tuple[Condition, ...]] = deque(maxlen=config.n_frames)
    history = None
    for frame in frames:
        needed = frame if history is None else replace(frame, picture=None)  # real pictures are for first ones
        padded = pad_clip(needed.to(device), config.size_multiple)
        seen.append(condition_pyramid(config.see(padded), len(networks)))
        if len(seen) < config.n_frames:
            given.append(padded)
            continue
        begins = history is None
        history = history or History.begin(first(given), len(networks))
        conditions = [joined(level) for level in zip(*seen, strict=True)]
        with precision.autocast(), apart(networks):  # not around the yield: they would reign in the caller
            made, pictures = config.step(networks, conditions, history, raw_only=begins and config.begin_with_zeros)
        history = history.push(pictures)
        height, width = frame.condition.shape[-2:]
        yield frame, made.picture[..., :height, :width]
