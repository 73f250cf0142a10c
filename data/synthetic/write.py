"""Toy videos to disk, in the layouts that `train.py` and `test.py` read (SPEC 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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

_StreamContent = (
    np.ndarray | str | Mapping[str, np.ndarray]
)  # an image or map, a text, named arrays
_StreamFiles = dict[str, _StreamContent]  # by stream
_SceneFrame = tuple[
    list[Sprite], RenderedFrame, _StreamFiles
]  # a frame: what it is made of, what is seen of it, what is written

DEFAULT_SCENE_SIZES = {"street": (256, 128), "face": (160, 160), "pose": (256, 160)}
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
    """Writes made-up sequences under `out` as `{phase}_{stream}/seqNNNN/frameNNNN…` and returns `out`.

    mode: street, face or pose. size: (W, H), None for the mode's own in `SIZES`. The same arguments give the same
    files. Beside a mode's own streams lies `{phase}_flow`, from the second frame on: `flow` (2, H, W) float32,
    backward, pixels; `visible` (H, W) bool, where the frame before shows the same point.
    """
    for phase in phases:
        for number in range(1, sequences + 1):
            rng = np.random.default_rng([seed, _PHASE_SEEDS[phase], number])
            for t, files in enumerate(
                _generate_frames(mode, rng, size or DEFAULT_SCENE_SIZES[mode], frames), start=1
            ):
                for stream, content in files.items():
                    folder = out / f"{phase}_{stream}" / f"seq{number:04d}"
                    _write_file(folder / f"frame{t:04d}{_STREAM_SUFFIXES[stream]}", content)
    return out


def _generate_frames(
    mode: str, rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[_StreamFiles]:
    before: _SceneFrame | None = None
    for view in _RENDERERS[mode](rng, size, n_frames):
        yield view[2] | ({"flow": _compute_flow(view, before)} if before else {})
        before = view


def _compute_flow(frame: _SceneFrame, previous_frame: _SceneFrame) -> dict[str, np.ndarray]:
    flow, visible = compute_backward_flow(
        frame[0], previous_frame[0], frame[1].sprite_index, previous_frame[1].sprite_index
    )
    return {"flow": flow, "visible": visible}


def _render_street(
    rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[_SceneFrame]:
    for layers in generate_street_scene(rng, size, n_frames):
        shown = render_sprites(layers, size)
        yield (
            layers,
            shown,
            {
                "A": _render_label_map(layers, shown),
                "B": shown.image,
                "inst": _render_instance_map(layers, shown),
            },
        )


def _render_label_map(sprites: Sequence[Sprite], rendered: RenderedFrame) -> np.ndarray:
    return gather_per_pixel([layer.label for layer in sprites], rendered.sprite_index).astype(
        np.uint8
    )


def _render_instance_map(sprites: Sequence[Sprite], rendered: RenderedFrame) -> np.ndarray:
    """Cityscapes' numbers: the label of stuff, label * 1000 + count of things; 16 bit."""
    ids = [
        layer.label * 1000 + layer.instance if layer.instance else layer.label for layer in sprites
    ]
    return gather_per_pixel(ids, rendered.sprite_index).astype(np.uint16)


def _render_face(
    rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[_SceneFrame]:
    for layers, landmarks in generate_face_scene(rng, size, n_frames):
        text = "".join(f"{x},{y}\n" for x, y in np.rint(landmarks).astype(int))
        shown = render_sprites(layers, size)
        yield layers, shown, {"keypoints": text, "img": shown.image}


def _render_pose(
    rng: np.random.Generator, size: tuple[int, int], n_frames: int
) -> Iterator[_SceneFrame]:
    for figure in generate_pose_scene(rng, size, n_frames):
        shown = render_sprites(figure.sprites, size)
        yield (
            figure.sprites,
            shown,
            {
                "openpose": figure.to_openpose_json(),
                "densepose": figure.render_densepose(shown.sprite_index),
                "img": shown.image,
            },
        )


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
