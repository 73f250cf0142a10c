"""Synthesis of every N-th frame (`--keyframes N`); the frames between are interpolated.

A key frame receives its usual conditions. In place of the previous images it receives the last key
frame, warped to where the conditions have moved since. The generators then predict the motion of one
frame, as in training. On the synthetic street data set this is closer to the real video than using
the last key frames unwarped as the history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from models.flow import FlowEstimator
from models.flow.warp import warp
from models.inference.synthesizer import Synthesizer
from models.networks.input_encoding import pad_clip
from models.networks.rollout import History
from util.clip import Clip

# Multiplication by an odd number, modulo 256, gives neighboring label ids distant gray values, and
# every id a different one.
_LABEL_GRAY_FACTOR = 53


@torch.no_grad()
def synthesize_keyframes(
    synthesizer: Synthesizer,
    frames: Iterable[Clip],
    keyframe_interval: int,
    flow_estimator: FlowEstimator,
) -> Iterator[tuple[Clip, Tensor]]:
    """Yield each frame from the n_frames_G-th on, with its image. As `Synthesizer.synthesize`.

    Frames come `keyframe_interval` at a time: interpolation needs the next key frame. The last frame
    of a sequence is always a key frame.
    """
    n_frames_G = synthesizer.config.n_frames_G
    remaining = iter(frames)
    window = deque(islice(remaining, n_frames_G), maxlen=n_frames_G)
    state, image = synthesizer.init(), None
    for clip in window:
        image, state = synthesizer.step_clip(state, clip)
    if image is None:
        return
    key_clip, key_image = clip, image
    yield key_clip, key_image
    while group := list(islice(remaining, keyframe_interval)):
        *between, next_clip = group
        for skipped in between:
            state = synthesizer.observe(state, skipped)
        window.extend(group)
        history_clips = list(window)[:-1]
        warped = warp_keyframe(synthesizer, key_clip, key_image, history_clips, flow_estimator)
        history = History.from_first_images(warped, len(synthesizer.netG))
        next_image, state = synthesizer.step_clip(replace(state, history=history), next_clip)
        assert next_image is not None, "the state has a history"
        interpolated = interpolate_frames(key_image, next_image, len(group), flow_estimator)
        yield from zip(between, interpolated, strict=False)
        yield next_clip, next_image
        key_clip, key_image = next_clip, next_image


def warp_keyframe(
    synthesizer: Synthesizer,
    key_clip: Clip,
    key_image: Tensor,
    clips: Sequence[Clip],
    flow_estimator: FlowEstimator,
) -> Tensor:
    """Warp a key frame to the conditions of other frames.

    Args:
        synthesizer: gives the padding and the label count.
        key_clip: the key frame, T = 1.
        key_image: its image, (B, 3, H, W).
        clips: frames to warp to, T = 1 each.
        flow_estimator: estimates the flow between conditions as gray images.

    Returns:
        (B, len(clips), 3, H, W) images, padded as the generators need it.
    """
    config, device = synthesizer.config, synthesizer.device
    label_nc = config.condition_config.label_nc

    def pad(clip: Clip) -> Clip:
        return pad_clip(clip.to(device), config.size_multiple)

    padded = pad(replace(key_clip, image=key_image.unsqueeze(1)))
    assert padded.image is not None
    key_gray = condition_to_gray(padded, label_nc)
    warped = []
    for clip in clips:
        gray = condition_to_gray(pad(replace(clip, image=None)), label_nc)
        warped.append(warp(padded.image[:, 0], flow_estimator.estimate(gray, key_gray)))
    return torch.stack(warped, dim=1)


def condition_to_gray(clip: Clip, label_nc: int) -> Tensor:
    """Convert the condition of a clip with T = 1 to a gray image (B, 3, H, W) in [-1, 1]."""
    condition = clip.condition[:, 0]
    if label_nc:
        gray = (condition.long() * _LABEL_GRAY_FACTOR % 256).float() / 127.5 - 1
    else:
        gray = condition.mean(dim=1, keepdim=True)
    return gray.expand(-1, 3, -1, -1)


def interpolate_frames(
    first_image: Tensor, last_image: Tensor, n_intervals: int, flow_estimator: FlowEstimator
) -> Iterator[Tensor]:
    """Yield the n_intervals - 1 images between two images (B, 3, H, W), evenly spaced in time.

    Both images are warped to the time of the result, by linear motion, and blended with weights that
    are linear in time.
    """
    backward_flow = flow_estimator.estimate(last_image, first_image)
    forward_flow = flow_estimator.estimate(first_image, last_image)
    for i in range(1, n_intervals):
        s = i / n_intervals
        from_first = warp(first_image, backward_flow * s)
        from_last = warp(last_image, forward_flow * (1 - s))
        yield from_first * (1 - s) + from_last * s
