"""From conditions to images, frame by frame in constant memory (SPEC 7), by the same step as training."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.inference.first_frame import FirstImageProvider
from models.inference.instance_features import FeatureSampler, sample_feature_maps
from models.networks.blocks import build_condition_pyramid
from models.networks.input_encoding import ConditionConfig, pad_clip
from models.networks.rollout import FrameGenerator, History, generate_frame
from models.networks.sparse_labels import Condition, concatenate_conditions
from util.clip import Clip
from util.distributed.amp import Precision


@dataclass(frozen=True)
class SynthesisConfig:
    """n_frames: tG. size_multiple: what the networks need sides to divide by; others are padded and cropped back.
    begin_with_zeros: `no_first_img`, so a sequence's first frame is `raw` alone. looks: of regions, for networks with
    features; faces: whether the regions are parts of faces. amp: half precision of the networks' convolutions, as in
    training (`util.distributed.amp`). step: how a frame is made, plainly or by `models.ops.compile`."""

    condition_config: ConditionConfig
    n_frames_G: int
    size_multiple: int
    no_first_img: bool
    feature_sampler: FeatureSampler | None = None
    is_face: bool = False
    amp: str = "off"
    generate_frame: FrameGenerator = generate_frame

    def encode(self, clip: Clip) -> Condition:
        """(B, T, C, H, W) as the generator sees it."""
        return self.condition_config.encode(
            clip,
            None
            if self.feature_sampler is None
            else sample_feature_maps(self.feature_sampler, clip, self.is_face),
        )


@dataclass(frozen=True)
class FrameInput:
    """What the networks see of a frame that they are to paint.

    clip: the frame as it came, T = 1. conditions: its own and those of the tG-1 frames before it, per scale, the finest
    first, (B, tG, C, h, w). begin: the first images of a sequence, for the first frame after them.
    """

    clip: Clip
    conditions: tuple[Condition, ...]
    first_history: History | None = None


def iter_frame_inputs(
    frames: Iterable[Clip],
    get_first_images: FirstImageProvider,
    config: SynthesisConfig,
    n_scales: int,
    device: torch.device,
) -> Iterator[FrameInput]:
    """A sequence's frames (B, T=1 each) -> what is seen from the tG-th on."""
    given: list[Clip] = []
    seen: deque[tuple[Condition, ...]] = deque(maxlen=config.n_frames_G)
    for number, frame in enumerate(frames, 1):
        needed = (
            frame if number < config.n_frames_G else replace(frame, image=None)
        )  # real ones are for first images
        padded = pad_clip(needed.to(device), config.size_multiple)
        seen.append(build_condition_pyramid(config.encode(padded), n_scales))
        if number < config.n_frames_G:
            given.append(padded)
            continue
        begin = (
            History.from_first_images(get_first_images(given), n_scales)
            if number == config.n_frames_G
            else None
        )
        yield FrameInput(
            frame, tuple(concatenate_conditions(level) for level in zip(*seen, strict=True)), begin
        )


def synthesize_frame(
    netG: nn.ModuleList,
    conditions: Sequence[Condition],
    history: History,
    is_first: bool,
    config: SynthesisConfig,
    device: torch.device,
) -> tuple[Tensor, History]:
    """The image (B, 3, H, W), and the images that the next frame sees. Videos of a batch do not see each other."""
    with Precision(config.amp, device.type).autocast():
        made, images = config.generate_frame(
            netG, conditions, history, no_warp=is_first and config.no_first_img
        )
    return made.image, history.push(images)


@torch.no_grad()
def synthesize(
    netG: nn.ModuleList,
    frames: Iterable[Clip],
    get_first_images: FirstImageProvider,
    config: SynthesisConfig,
    device: torch.device,
) -> Iterator[tuple[Clip, Tensor]]:
    """A sequence's frames (B, T=1 each) -> each frame from the tG-th on, with its image (B, 3, H, W) in [-1, 1].

    Videos of a batch, all equally long, are each as it would be alone; for others `models.inference.batched`.
    """
    history = None
    for view in iter_frame_inputs(frames, get_first_images, config, len(netG), device):
        history = view.first_history or history
        assert history is not None
        image, history = synthesize_frame(
            netG, view.conditions, history, view.first_history is not None, config, device
        )
        yield view.clip, crop_padding(image, view.clip)


def crop_padding(image: Tensor, clip: Clip) -> Tensor:
    """The part that the clip shows."""
    height, width = clip.condition.shape[-2:]
    return image[..., :height, :width]
