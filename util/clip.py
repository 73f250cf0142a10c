"""The value types that `data` and `models` exchange: a batch of clips, its source, and flow estimates.

All are frozen dataclasses; a field that is `None` is absent.

Axes: B clips of a batch, T frames (oldest first), C channels, H height, W width.
Images are RGB: uint8 as read from disk, float32 in [-1, 1] after `Clip.to`.
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
    """Estimated flow of N image pairs.

    Attributes:
        flow: (N, 2, H, W), or (B, P, 2, H, W) for P pairs of each clip; float32, pixels, backward.
        confidence: (N, 1, H, W), or (B, P, 1, H, W); 1 where the warped previous image matches,
            else 0.
    """

    flow: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class ClipSource:
    """The image files that the T frames of one clip were cut from, and the region that was cut.

    Attributes:
        files: one image file per frame, oldest first.
        box: (left, top, right, bottom) of the region that fills the clip, in pixels of the files.
            Fractional where the crop of a resized image falls between source pixels. May extend
            beyond the image; there the clip is black.
        is_flipped: whether the region was mirrored horizontally after the cut.
    """

    files: tuple[Path, ...]
    box: tuple[float, float, float, float]
    is_flipped: bool = False


@dataclass(frozen=True)
class Clip:
    """A batch of B clips with the same number of frames T and the same size.

    Attributes:
        condition: (B, T, 1, H, W) uint8 label ids 0..N-1 if the run has labels, else
            (B, T, C, H, W): uint8 as read, float32 after `to` (RGB and pose maps in [-1, 1],
            face edge and distance maps in [0, 1]).
        image: (B, T, 3, H, W) real images: uint8 as read, float32 in [-1, 1] after `to`.
        instance: (B, T, 1, H, W) int32 instance ids; for a face its part ids.
        names: for each of the B clips the names of its T frames, `SEQUENCE/STEM`.
        window_size: number of frames generated per training window.
        flow_pairs: (current, previous) frame indices of the flow that the data loader has
            estimated.
        pair_flow: (B, len(flow_pairs), 2, H, W) float32 backward flow of these pairs.
        source: where the pixels come from. Set for a single clip inside the data loader,
            None for a batch.
        normalization: function that turns a uint8 condition into float32. None if the condition
            holds label ids or is float32 already.
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

    @staticmethod
    def stack(clips: Sequence[Clip]) -> Clip:
        """Concatenate clips of equal length, size and window size along the batch axis.

        Flow is kept only if all clips have it for the same frame pairs.
        """
        first = clips[0]
        if any(clip.flow_pairs != first.flow_pairs for clip in clips):
            clips = [replace(clip, flow_pairs=(), pair_flow=None) for clip in clips]
            first = clips[0]
        tensors: dict[str, Any] = {
            field: torch.cat([getattr(clip, field) for clip in clips])
            for field, value in vars(first).items()
            if isinstance(value, Tensor)
        }
        names = tuple(frame_names for clip in clips for frame_names in clip.names)
        return replace(first, **tensors, names=names, source=None)

    def split_into_windows(self, n_frames_G: int) -> Iterator[Clip]:
        """Yield the training windows of the clip, oldest first; each is one step of the optimizers.

        A window holds `n_frames_G - 1` history frames followed by the `window_size` frames to be
        generated. The next window starts `window_size` frames later, so that its history is the
        end of this window. Frames that do not fill a last window are left out. Every window keeps
        the whole clip's `pair_flow`, in the clip's frame numbers, since temporal groups reach back
        to earlier windows.
        """
        n_history = n_frames_G - 1
        last_start = len(self) - n_history - self.window_size
        for start in range(0, last_start + 1, self.window_size):
            window = self.slice_frames(start, start + n_history + self.window_size)
            yield replace(window, flow_pairs=self.flow_pairs, pair_flow=self.pair_flow)

    def slice_frames(self, start: int, stop: int) -> Clip:
        """Return frames start..stop-1, without `pair_flow` and `source`."""
        frames = replace(
            self,
            names=tuple(frame_names[start:stop] for frame_names in self.names),
            flow_pairs=(),
            pair_flow=None,
            source=None,
        )
        return frames.apply(lambda tensor: tensor[:, start:stop])

    def slice_batch(self, start: int, stop: int) -> Clip:
        """Return clips start..stop-1 of the batch."""
        clips = self.apply(lambda tensor: tensor[start:stop])
        return replace(clips, names=self.names[start:stop])

    def get_pair_flow(self, pairs: Sequence[tuple[int, int]]) -> Tensor | None:
        """Return the loader's flow (B, len(pairs), 2, H, W); None if it lacks any of the pairs.

        Args:
            pairs: (current, previous) frame indices.
        """
        if self.pair_flow is None or not set(pairs) <= set(self.flow_pairs):
            return None
        return self.pair_flow[:, [self.flow_pairs.index(pair) for pair in pairs]]

    def apply(self, fn: Callable[[Tensor], Tensor]) -> Clip:
        """Return the clip with `fn` applied to every tensor."""
        tensors: dict[str, Any] = {
            field: fn(value) for field, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)

    def to(self, device: torch.device) -> Clip:
        """Move the clip to a device and normalize its uint8 images there; ids stay integers.

        Clips travel as uint8, which is a quarter of the float32 size. The copy to a GPU is
        asynchronous if the clip is in pinned memory. `pair_flow` stays where it is: only the pairs
        that `get_pair_flow` selects are needed on the device.
        """
        # A copy to the host must be complete before the values are read: never asynchronous.
        moved = replace(self, pair_flow=None).apply(
            lambda tensor: tensor.to(device, non_blocking=device.type == "cuda")
        )
        image, condition = moved.image, moved.condition
        if image is not None:
            image = normalize_if_uint8(image)
        if self.normalization is not None:
            condition = self.normalization(condition)
        return replace(
            moved,
            image=image,
            condition=condition,
            normalization=None,
            pair_flow=self.pair_flow,
        )

    def pin_memory(self) -> Clip:
        """Copy to page-locked memory; the data loader calls this for `pin_memory=True`."""
        return self.apply(Tensor.pin_memory)
