"""The nouns that data, networks and trainer hand to each other. Frozen; `None` means absent.

Axes: B clips of a batch, T frames (oldest first), C channels, H height, W width. Images are RGB: bytes as they are
read, float32 in [-1, 1] once `Clip.to` has brought them to a device.
Flow is in pixels, channel 0 = x, channel 1 = y, and backward: image[t](p) ~ image[t-1](p + flow[t](p)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from util.images.normalization import PixelNormalization, normalize_if_uint8


@dataclass(frozen=True)
class FlowEstimate:
    """Reference flow of N image pairs.

    flow: (N, 2, H, W) float32, pixels, backward.
    confidence: (N, 1, H, W) float32 in [0, 1]; 1 where the flow explains the image (SPEC 9).
    """

    flow: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class ClipSource:
    """Which image files the T frames of one clip were cut from, and how.

    box: (left, top, right, bottom) of the part that fills the clip, in the files' pixels; fractions where a crop fell
        between them, beyond the image where the clip is black. flip: mirrored afterwards.
    """

    files: tuple[Path, ...]
    box: tuple[float, float, float, float]
    is_flipped: bool = False


@dataclass(frozen=True)
class Clip:
    """A batch of clips of equal length and size.

    condition: (B, T, 1, H, W) uint8 label ids 0..N-1 when the run has labels, else (B, T, C, H, W): uint8 as read,
        float32 after `to` (RGB and pose in [-1, 1], face edge and distance maps in [0, 1]).
    image: (B, T, 3, H, W): uint8 as read, float32 in [-1, 1] after `to`.
    instance: (B, T, 1, H, W) int32 instance ids (a face's: its part ids).
    pairs, pair_flow: what the loader's workers have estimated already: (current, previous) frame numbers and, in
        that order, (B, len(pairs), 2, H, W) float32 backward flow.
    names: for each of the B clips its T frame names, `SEQUENCE/STEM`.
    load: generated frames per training window.
    source: of a single clip, for the loader's workers; a batch has none.
    levels: what the condition's bytes stand for; None: they are ids, or it holds float32 already.
    """

    condition: Tensor
    image: Tensor | None
    instance: Tensor | None
    names: tuple[tuple[str, ...], ...]
    window_size: int = 1
    flow_pairs: tuple[tuple[int, int], ...] = ()
    pair_flow: Tensor | None = None
    source: ClipSource | None = None
    normalization: PixelNormalization | None = None

    def __len__(self) -> int:
        return self.condition.shape[1]

    def slice_frames(self, start: int, stop: int) -> Clip:
        """Frames start..stop-1; flows stay with the whole clip."""
        bare = replace(
            self,
            names=tuple(n[start:stop] for n in self.names),
            flow_pairs=(),
            pair_flow=None,
            source=None,
        )
        return bare.apply(lambda tensor: tensor[:, start:stop])

    def get_pair_flow(self, pairs: Sequence[tuple[int, int]]) -> Tensor | None:
        """(B, len(pairs), 2, H, W): what the loader's workers estimated between these frames; None if not all."""
        if self.pair_flow is None or not set(pairs) <= set(self.flow_pairs):
            return None
        return self.pair_flow[:, [self.flow_pairs.index(pair) for pair in pairs]]

    def slice_batch(self, start: int, stop: int) -> Clip:
        """Clips start..stop-1 of the batch."""
        return replace(self.apply(lambda tensor: tensor[start:stop]), names=self.names[start:stop])

    def split_into_windows(self, n_frames_G: int) -> Iterator[Clip]:
        """Pieces of load + tG - 1 frames that advance by load (SPEC 2)."""
        history = n_frames_G - 1
        for start in range(0, len(self) - history - self.window_size + 1, self.window_size):
            window = self.slice_frames(start, start + self.window_size + history)
            # The flow keeps the numbers of the clip: a window also needs that of earlier frames.
            yield replace(window, flow_pairs=self.flow_pairs, pair_flow=self.pair_flow)

    def apply(self, fn: Callable[[Tensor], Tensor]) -> Clip:
        """With every tensor changed."""
        tensors: dict[str, Any] = {
            name: fn(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)

    def to(self, device: torch.device) -> Clip:
        """Moved as it is, and there made float32 of, but for ids. Returns at once where a GPU fetches from page-locked
        memory. To the host it waits: what had not arrived yet would be read. pair_flow stays where it is: only what
        `get_pair_flow` selects is needed elsewhere."""
        moved = replace(self, pair_flow=None).apply(
            lambda tensor: tensor.to(device, non_blocking=device.type == "cuda")
        )
        condition = moved.condition
        if self.normalization is not None:
            condition = self.normalization(condition)
        return replace(
            moved,
            normalization=None,
            image=None if moved.image is None else normalize_if_uint8(moved.image),
            condition=condition,
            pair_flow=self.pair_flow,
        )

    def pin_memory(self) -> Clip:
        """Called by the data loader."""
        return self.apply(Tensor.pin_memory)

    @staticmethod
    def stack(clips: Sequence[Clip]) -> Clip:
        """One batch of several clips of equal length, size and load. Flow of pairs that not all know is dropped."""
        if any(clip.flow_pairs != clips[0].flow_pairs for clip in clips):
            clips = [replace(clip, flow_pairs=(), pair_flow=None) for clip in clips]
        first = clips[0]
        joined: dict[str, Any] = {
            name: torch.cat([getattr(clip, name) for clip in clips])
            for name, value in vars(first).items()
            if isinstance(value, Tensor)
        }
        return replace(
            first, **joined, names=tuple(name for c in clips for name in c.names), source=None
        )
