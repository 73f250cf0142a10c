"""Several sequences at once (`--batch_sequences`): a frame of each is one batch, and each is as it would be alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.inference.first_frame import FirstImageProvider
from models.inference.synthesis import (
    FrameInput,
    SynthesisConfig,
    crop_padding,
    iter_frame_inputs,
    synthesize_frame,
)
from models.networks.rollout import History
from models.networks.sparse_labels import concatenate_conditions
from util.clip import Clip

IndexedFrames = Iterator[
    tuple[int, Clip, Tensor]
]  # of which sequence, its frame, its image (1, 3, H, W)


@torch.no_grad()
def synthesize_batched(
    netG: nn.ModuleList,
    sequences: Sequence[Iterable[Clip]],
    get_first_images: FirstImageProvider,
    config: SynthesisConfig,
    device: torch.device,
) -> IndexedFrames:
    """The frames of each sequence (B = T = 1) in their order, as `synthesise` makes them, in turn with the others'.

    Sequences of one size share a step. A shorter one ends earlier, and the others go on without it.
    """
    going = {
        number: iter_frame_inputs(frames, get_first_images, config, len(netG), device)
        for number, frames in enumerate(sequences)
    }
    histories: dict[int, History] = {}
    while going:
        now = {
            number: view
            for number, coming in going.items()
            if (view := next(coming, None)) is not None
        }
        going = {number: going[number] for number in now}
        histories = {
            number: view.first_history or histories[number] for number, view in now.items()
        }
        for batch in group_by_shape(now):
            conditions = [
                concatenate_conditions(level, dim=0)
                for level in zip(*(now[n].conditions for n in batch), strict=True)
            ]
            images, history = synthesize_frame(
                netG,
                conditions,
                History.stack([histories[n] for n in batch]),
                now[batch[0]].first_history is not None,
                config,
                device,
            )
            for place, number in enumerate(batch):
                histories[number] = history.select(place)
                yield (
                    number,
                    now[number].clip,
                    crop_padding(images[place : place + 1], now[number].clip),
                )


def group_by_shape(frame_inputs: Mapping[int, FrameInput]) -> list[list[int]]:
    """The numbers of those that can share a step, which all began at the same time: by what they show and its size."""
    batches: dict[tuple[int, ...], list[int]] = {}
    for number, view in frame_inputs.items():
        batches.setdefault(tuple(view.conditions[0].shape), []).append(number)
    return list(batches.values())
