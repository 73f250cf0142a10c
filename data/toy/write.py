"""Toy videos to disk, in the layouts that `train.py` and `test.py` read (SPEC 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data.toy.face import face_scene
from data.toy.layers import Layer, Rendered, backward_flow, of_layers, render
from data.toy.pose import pose_scene
from data.toy.street import street_scene

Content = np.ndarray | str | Mapping[str, np.ndarray]  # a picture or map, a text, named arrays
Files = dict[str, Content]  # by stream
View = tuple[list[Layer], Rendered, Files]  # a frame: what it is made of, what is seen of it, what is written

SIZES = {"street": (256, 128), "face": (160, 160), "pose": (256, 160)}
SUFFIXES = {"A": ".png", "B": ".png", "inst": ".png", "keypoints": ".txt", "img": ".png",
            "openpose": "_keypoints.json", "densepose": ".png", "flow": ".npz"}
PHASE_SEEDS = {"train": 0, "test": 1}


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
            rng = np.random.default_rng([seed, PHASE_SEEDS[phase], number])
            for t, files in enumerate(_frames(mode, rng, size or SIZES[mode], frames), start=1):
                for stream, content in files.items():
                    folder = out / f"{phase}_{stream}" / f"seq{number:04d}"
                    _write(folder / f"frame{t:04d}{SUFFIXES[stream]}", content)
    return out


def _frames(mode: str, rng: np.random.Generator, size: tuple[int, int], count: int) -> Iterator[Files]:
    before: View | None = None
    for view in VIEWS[mode](rng, size, count):
        yield view[2] | ({"flow": _flow(view, before)} if before else {})
        before = view


def _flow(now: View, before: View) -> dict[str, np.ndarray]:
    flow, visible = backward_flow(now[0], before[0], now[1].owner, before[1].owner)
    return {"flow": flow, "visible": visible}


def _street(rng: np.random.Generator, size: tuple[int, int], count: int) -> Iterator[View]:
    for layers in street_scene(rng, size, count):
        shown = render(layers, size)
        yield layers, shown, {"A": _labels(layers, shown), "B": shown.picture, "inst": _instances(layers, shown)}


def _labels(layers: Sequence[Layer], shown: Rendered) -> np.ndarray:
    return of_layers([layer.label for layer in layers], shown.owner).astype(np.uint8)


def _instances(layers: Sequence[Layer], shown: Rendered) -> np.ndarray:
    """Cityscapes' numbers: the label of stuff, label * 1000 + count of things; 16 bit."""
    ids = [layer.label * 1000 + layer.instance if layer.instance else layer.label for layer in layers]
    return of_layers(ids, shown.owner).astype(np.uint16)


def _face(rng: np.random.Generator, size: tuple[int, int], count: int) -> Iterator[View]:
    for layers, landmarks in face_scene(rng, size, count):
        text = "".join(f"{x},{y}\n" for x, y in np.rint(landmarks).astype(int))
        shown = render(layers, size)
        yield layers, shown, {"keypoints": text, "img": shown.picture}


def _pose(rng: np.random.Generator, size: tuple[int, int], count: int) -> Iterator[View]:
    for figure in pose_scene(rng, size, count):
        shown = render(figure.layers, size)
        yield figure.layers, shown, {"openpose": figure.openpose(), "densepose": figure.densepose(shown.owner),
                                     "img": shown.picture}


VIEWS: dict[str, Callable[[np.random.Generator, tuple[int, int], int], Iterator[View]]] = {
    "street": _street, "face": _face, "pose": _pose}


def _write(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, np.ndarray):
        Image.fromarray(content).save(path)
    else:
        np.savez_compressed(path, allow_pickle=False, **content)
