"""Write synthetic videos in the layouts that `train.py` and `test.py` read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data.synthetic.face import generate_face_scene
from data.synthetic.pose import generate_pose_scene
from data.synthetic.sprites import (
    RenderedFrame,
    Sprite,
    compute_backward_flow,
    gather_per_pixel,
    render_sprites,
)
from data.synthetic.street import generate_street_scene

# an image or map, a text, or named arrays
_StreamContent = np.ndarray | str | Mapping[str, np.ndarray]

DEFAULT_SCENE_SIZES = {"street": (256, 128), "face": (160, 160), "pose": (256, 160)}  # (W, H)
_STREAM_SUFFIXES = {
    "A": ".png",
    "B": ".png",
    "inst": ".png",
    "keypoints": ".txt",
    "img": ".png",
    "openpose": "_keypoints.json",
    "densepose": ".png",
    "flow": ".npz",
}
_PHASE_SEEDS = {"train": 0, "test": 1}


@dataclass(frozen=True)
class _SceneFrame:
    """A frame: its sprites, the image rendered from them, and the file content of each stream."""

    sprites: list[Sprite]
    rendered: RenderedFrame
    streams: dict[str, _StreamContent]


def make_toy_data(
    mode: str,
    out: Path,
    *,
    sequences: int = 2,
    frames: int = 12,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    phases: Sequence[str] = ("train",),
) -> Path:
    """Write synthetic sequences as `{out}/{phase}_{stream}/seqNNNN/frameNNNN*`.

    In addition to the streams of the mode, `{phase}_flow` holds the ground-truth flow from the second frame on: `flow`,
    (2, H, W) float32 in pixels, backward; and `visible`, (H, W) bool, where the previous frame shows the same point.
    The same arguments give the same files.

    Args:
        mode: street, face or pose.
        out: Data root.
        sequences: Number of sequences per phase.
        frames: Length of each sequence.
        size: (W, H) of the images; None for `DEFAULT_SCENE_SIZES[mode]`.
        seed: Of the random numbers.
        phases: Any of train and test.

    Returns:
        `out`.
    """
    size = size or DEFAULT_SCENE_SIZES[mode]
    for phase in phases:
        for number in range(1, sequences + 1):
            rng = np.random.default_rng([seed, _PHASE_SEEDS[phase], number])
            for t, streams in enumerate(_generate_streams(mode, rng, size, frames), start=1):
                for stream, content in streams.items():
                    folder = out / f"{phase}_{stream}" / f"seq{number:04d}"
                    _write_file(folder / f"frame{t:04d}{_STREAM_SUFFIXES[stream]}", content)
    return out


def _generate_streams(
    mode: str, rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[dict[str, _StreamContent]]:
    """Yield the file content of each stream, the flow included, frame by frame."""
    previous: _SceneFrame | None = None
    for frame in _RENDERERS[mode](rng, size, n_frames):
        if previous is None:
            yield frame.streams
        else:
            yield frame.streams | {"flow": _compute_flow(frame, previous)}
        previous = frame


def _compute_flow(frame: _SceneFrame, previous: _SceneFrame) -> dict[str, np.ndarray]:
    flow, visible = compute_backward_flow(
        frame.sprites,
        previous.sprites,
        frame.rendered.sprite_index,
        previous.rendered.sprite_index,
    )
    return {"flow": flow, "visible": visible}


def _render_street(
    rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[_SceneFrame]:
    for sprites in generate_street_scene(rng, size, n_frames):
        rendered = render_sprites(sprites, size)
        streams: dict[str, _StreamContent] = {
            "A": _render_label_map(sprites, rendered),
            "B": rendered.image,
            "inst": _render_instance_map(sprites, rendered),
        }
        yield _SceneFrame(sprites, rendered, streams)


def _render_label_map(sprites: Sequence[Sprite], rendered: RenderedFrame) -> np.ndarray:
    labels = [sprite.label for sprite in sprites]
    return gather_per_pixel(labels, rendered.sprite_index).astype(np.uint8)


def _render_instance_map(sprites: Sequence[Sprite], rendered: RenderedFrame) -> np.ndarray:
    """Render Cityscapes' instance ids, uint16: the label of stuff, label * 1000 + number of a thing."""
    ids = [
        sprite.label * 1000 + sprite.instance if sprite.instance else sprite.label
        for sprite in sprites
    ]
    return gather_per_pixel(ids, rendered.sprite_index).astype(np.uint16)


def _render_face(
    rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[_SceneFrame]:
    for sprites, landmarks in generate_face_scene(rng, size, n_frames):
        rendered = render_sprites(sprites, size)
        text = "".join(f"{x},{y}\n" for x, y in np.rint(landmarks).astype(int))
        yield _SceneFrame(sprites, rendered, {"keypoints": text, "img": rendered.image})


def _render_pose(
    rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[_SceneFrame]:
    for figure in generate_pose_scene(rng, size, n_frames):
        rendered = render_sprites(figure.sprites, size)
        streams: dict[str, _StreamContent] = {
            "openpose": figure.to_openpose_json(),
            "densepose": figure.render_densepose(rendered.sprite_index),
            "img": rendered.image,
        }
        yield _SceneFrame(figure.sprites, rendered, streams)


_RENDERERS: dict[
    str, Callable[[np.random.Generator, tuple[int, int], int], Iterator[_SceneFrame]]
] = {"street": _render_street, "face": _render_face, "pose": _render_pose}


def _write_file(path: Path, content: _StreamContent) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, np.ndarray):
        Image.fromarray(content).save(path)
    else:
        np.savez_compressed(path, allow_pickle=False, **content)
