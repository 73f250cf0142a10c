"""Several sequences at once (`--batch_sequences`): a frame of each is one batch, and each is as it would be alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.first_frame import FirstPictures
from models.labels import joined
from models.rollout import History
from models.synthesis import SynthesisConfig, View, painted_frame, unpadded, views
from util.clip import Clip

Numbered = Iterator[tuple[int, Clip, Tensor]]  # of which sequence, its frame, its picture (1, 3, H, W)


@torch.no_grad()
def synthesise_together(networks: nn.ModuleList, sequences: Sequence[Iterable[Clip]], first: FirstPictures,
                        config: SynthesisConfig, device: torch.device) -> Numbered:
    """The frames of each sequence (B = T = 1) in their order, as `synthesise` makes them, in turn with the others'.

    Sequences of one size share a step. A shorter one ends earlier, and the others go on without it.
    """
    going = {number: views(frames, first, config, len(networks), device) for number, frames in enumerate(sequences)}
    histories: dict[int, History] = {}
    while going:
        now = {number: view for number, coming in going.items() if (view := next(coming, None)) is not None}
        going = {number: going[number] for number in now}
        histories = {number: view.begin or histories[number] for number, view in now.items()}
        for batch in alike(now):
            conditions = [joined(level, axis=0) for level in zip(*(now[n].conditions for n in batch), strict=True)]
            pictures, history = painted_frame(networks, conditions, History.stack([histories[n] for n in batch]),
                                              now[batch[0]].begin is not None, config, device)
            for place, number in enumerate(batch):
                histories[number] = history.video(place)
                yield number, now[number].clip, unpadded(pictures[place:place + 1], now[number].clip)


def alike(now: Mapping[int, View]) -> list[list[int]]:
    """The numbers of those that can share a step, which all began at the same time: by what they show and its size."""
    batches: dict[tuple[int, ...], list[int]] = {}
    for number, view in now.items():
        batches.setdefault(tuple(view.conditions[0].shape), []).append(number)
    return list(batches.values())
