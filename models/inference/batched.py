"""Synthesis of several sequences: in batches (`--batch_sequences`), or one by one with key frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor

from models.flow.dis import DISFlowEstimator
from models.inference.keyframes import synthesize_keyframes
from models.inference.synthesizer import Synthesizer, SynthesizerState, crop_padding
from util.clip import Clip

# index of the sequence, its frame (B = T = 1), the image (1, 3, H, W)
IndexedFrames = Iterator[tuple[int, Clip, Tensor]]


def synthesize_sequences(
    synthesizer: Synthesizer, sequences: Sequence[Iterable[Clip]], keyframe_interval: int = 1
) -> IndexedFrames:
    """Yield the frames of all sequences from the n_frames_G-th on, in order within each sequence.

    Args:
        synthesizer: the generators.
        sequences: clips with B = T = 1, read as they are needed.
        keyframe_interval: 1 generates every frame, of all sequences together. N > 1 generates every
            N-th frame and interpolates the others, one sequence after another.
    """
    if keyframe_interval == 1:
        yield from synthesize_batched(synthesizer, sequences)
        return
    flow_estimator = DISFlowEstimator()
    for index, frames in enumerate(sequences):
        for clip, image in synthesize_keyframes(
            synthesizer, frames, keyframe_interval, flow_estimator
        ):
            yield index, clip, image


def synthesize_batched(
    synthesizer: Synthesizer, sequences: Sequence[Iterable[Clip]]
) -> IndexedFrames:
    """Yield the frames of all sequences in turn, as `Synthesizer.synthesize` does for each alone.

    Sequences of equal size share a forward pass. When a shorter one ends, the others continue.
    """
    streams = {index: iter(frames) for index, frames in enumerate(sequences)}
    states = {index: synthesizer.init() for index in streams}
    while streams:
        frames = _read_next_frames(streams)
        streams = {index: streams[index] for index in frames}
        # Each sequence by itself: single-image networks for the first images may share batch
        # statistics between the samples of a batch.
        states = {index: synthesizer.observe(states[index], clip) for index, clip in frames.items()}
        for batch in group_by_shape(states):
            images, state = synthesizer.generate(SynthesizerState.stack([states[i] for i in batch]))
            for position, index in enumerate(batch):
                states[index] = state.select(position)
                clip = frames[index]
                yield index, clip, crop_padding(images[position : position + 1], clip)


def _read_next_frames(streams: Mapping[int, Iterator[Clip]]) -> dict[int, Clip]:
    """Return the next frame of every sequence that has not ended."""
    frames = {}
    for index, stream in streams.items():
        clip = next(stream, None)
        if clip is not None:
            frames[index] = clip
    return frames


def group_by_shape(states: Mapping[int, SynthesizerState]) -> list[list[int]]:
    """Return the indices of the states that can share a forward pass: those of one condition shape.

    States without a history are left out. All states are equally old.
    """
    batches: dict[tuple[int, ...], list[int]] = {}
    for index, state in states.items():
        if state.history is not None:
            newest_finest = state.conditions[-1][0]
            batches.setdefault(tuple(newest_finest.shape), []).append(index)
    return list(batches.values())
