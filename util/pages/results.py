"""The pages people look at: a training run's images so far, a test run's results. Plain files that work offline."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from dominate import tags
from dominate.util import raw

from util.images.plots import PlotCurve, render_line_chart
from util.images.visualization import save_image
from util.pages import layout

MAX_TRAINING_ENTRIES = 200  # newest entries on the training page: it is written anew each time, and must stay quick to load
MAX_CURVE_POINTS = 200
_LOSS_PATTERN = re.compile(r"(\S+): (\S+)")
_IMAGE_NAME_PATTERN = re.compile(r"epoch(\d+)_step(\d+)_(.+)\.jpg")
_IMAGE_ORDER = (
    "condition",
    "past",
    "generated",
    "predicted",
    "raw",
    "real",
    "flow",
    "reference_flow",
    "confidence",
    "weight",
)


@dataclass(frozen=True)
class TrainingPage:
    """`folder`/index.html, newest entry first, over `folder`/images. All of it is read off the files in images, so
    that a resumed run goes on where the last one stood.

    title: the run's name; width: of an image on the page, in pixels (`--display_winsize`).
    """

    folder: Path
    title: str
    image_width: int

    def add_entry(self, epoch: int, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Saves an entry's images, (H, W, 3) uint8 by name (`PICTURE_ORDER` says which come first), and rewrites
        the page. step: clips since the run began."""
        for name, image in images.items():
            save_image(
                self.folder / "images" / f"epoch{epoch:03d}_step{step:06d}_{name}.jpg", image
            )
        self.write()

    def write(self) -> None:
        """index.html from the files in images."""
        entries = _list_training_entries(self.folder / "images")
        page, body = layout.create_document(
            self.title, f"{len(entries)} entries, newest first", self.image_width
        )
        if curves := render_loss_curves(self.folder.parent / "loss_log.txt"):
            body.add(layout.create_section("Losses", "means of neighbours")).add(
                tags.div(*map(raw, curves), cls="row")
            )
        for (epoch, step), paths in entries[:MAX_TRAINING_ENTRIES]:
            section = body.add(layout.create_section(f"Epoch {epoch}", f"step {step}"))
            section.add(
                layout.create_row(
                    layout.create_image_figure(self.folder, path, _format_image_title(path))
                    for path in paths
                )
            )
        if len(entries) > MAX_TRAINING_ENTRIES:
            body.add(
                tags.p(
                    f"{len(entries) - MAX_TRAINING_ENTRIES} older entries are in the folder images."
                )
            )
        layout.write_document(self.folder / "index.html", page)


@dataclass(frozen=True)
class ResultStream:
    """One column of a results page. images: files, one a frame, in order; video: the same as an mp4."""

    title: str
    image_paths: Sequence[Path]
    video: Path | None = None


@dataclass(frozen=True)
class ResultSequence:
    """A sequence's streams side by side: condition, generated, real. note: shown beside the name, a figure, say."""

    name: str
    streams: Sequence[ResultStream]
    note: str = ""

    @property
    def n_frames(self) -> int:
        """Frames of the longest stream."""
        return max((len(stream.image_paths) for stream in self.streams), default=0)


def write_results_page(
    folder: Path,
    sequences: Sequence[ResultSequence],
    title: str,
    image_width: int,
    notes: Sequence[str] = (),
) -> None:
    """`folder`/index.html over a test run's files, which it points to by paths relative to `folder`.

    title: the run's name; width: of an image on the page, in pixels (`--display_winsize`).
    notes: shown above the sequences, a line each."""
    frames = sum(sequence.n_frames for sequence in sequences)
    page, body = layout.create_document(
        title, f"{len(sequences)} sequences, {frames} frames", image_width
    )
    if notes:
        body.add(layout.create_section("Notes")).add(*(tags.p(note) for note in notes))
    for sequence in sequences:
        body.add(_create_result_section(folder, sequence))
    body.add(layout.create_viewer_script())
    layout.write_document(folder / "index.html", page)


def _create_result_section(folder: Path, sequence: ResultSequence) -> tags.section:
    """Videos, and a viewer (assets/viewer.js) that holds one frame of each stream, whatever the sequence's length."""
    section = layout.create_section(sequence.name, sequence.note or f"{sequence.n_frames} frames")
    section["data-frames"] = str(sequence.n_frames)
    section[0].add(tags.div(tags.button("Play / pause", cls="play"), cls="tools"))
    videos = [
        _create_video_figure(folder, stream.video, stream.title)
        for stream in sequence.streams
        if stream.video is not None
    ]
    if videos:
        section.add(layout.create_row(videos))
    shown = [stream for stream in sequence.streams if stream.image_paths]
    section.add(
        layout.create_row(
            [
                *_create_comparison(shown),
                *(
                    _create_viewer_figure(number, stream.title)
                    for number, stream in enumerate(shown)
                ),
            ]
        )
    )
    section.add(
        tags.div(
            tags.input_(
                type="range",
                cls="frame",
                min="0",
                max=str(sequence.n_frames - 1),
                value="0",
                aria_label="frame",
            ),
            tags.output(),
            cls="scrubber",
        )
    )
    addresses = [
        {
            "title": s.title,
            "frames": [layout.make_relative_url(folder, path) for path in s.image_paths],
        }
        for s in shown
    ]
    section.add(
        tags.script(raw(json.dumps(addresses)), type="application/json")
    )  # addresses hold no < : quoted
    return section


def _create_viewer_figure(stream_index: int, caption: str) -> tags.figure:
    return tags.figure(_create_viewer_image(stream_index, caption), tags.figcaption(caption))


def _create_viewer_image(stream_index: int, caption: str) -> tags.img:
    """The viewer's own image of a stream: which file it shows is the script's business."""
    return tags.img(data_stream=str(stream_index), alt=caption)


def _create_comparison(streams: Sequence[ResultStream]) -> list[tags.figure]:
    """Generated and real over each other, with a slider between them, where both are there."""
    numbers = {stream.title: number for number, stream in enumerate(streams)}
    if not {"generated", "real"} <= set(numbers):
        return []
    images = tags.div(
        *(_create_viewer_image(numbers[title], title) for title in ("generated", "real")),
        cls="compare",
    )
    slider = tags.input_(
        type="range", cls="cut", min="0", max="100", value="50", aria_label="generated or real"
    )
    return [tags.figure(images, slider, tags.figcaption("generated | real"))]


def _create_video_figure(folder: Path, path: Path, caption: str) -> tags.figure:
    video = tags.video(
        src=layout.make_relative_url(folder, path),
        controls=True,
        loop=True,
        muted=True,
        playsinline=True,
        preload="metadata",
    )
    return tags.figure(video, tags.figcaption(caption))


def render_loss_curves(log_path: Path) -> list[str]:
    """SVG charts of a run's losses so far (`loss_log.txt`): the generator's and the discriminators'."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    lines = log_path.read_text(encoding="utf-8").splitlines() if log_path.is_file() else []
    for number, line in enumerate(line for line in lines if line.startswith("(epoch")):
        for name, value in _LOSS_PATTERN.findall(line.split(") ", 1)[1]):
            x, y = found.setdefault(name, ([], []))
            x.append(number)
            y.append(float(value))
    curves = {
        name: downsample_curve(*curve) for name, curve in sorted(found.items()) if len(curve[0]) > 1
    }
    sides: dict[str, dict[str, PlotCurve]] = {"generator": {}, "discriminators": {}}
    for name, curve in curves.items():
        sides["discriminators" if name.startswith("D") else "generator"][name] = curve
    return [
        render_line_chart(side, "lines of loss_log.txt", curves, "log")
        for side, curves in sides.items()
        if curves
    ]


def downsample_curve(x: Sequence[float], y: Sequence[float]) -> PlotCurve:
    """At most CURVE_POINTS points: means of neighbours."""
    parts = min(len(x), MAX_CURVE_POINTS)
    means = [
        np.array([part.mean() for part in np.array_split(np.asarray(values, float), parts)])
        for values in (x, y)
    ]
    return means[0], means[1]


def _list_training_entries(image_folder: Path) -> list[tuple[tuple[int, int], list[Path]]]:
    """((epoch, step), images in their order) of all entries, newest first."""
    found = {
        path: match
        for path in image_folder.glob("*.jpg")
        if (match := _IMAGE_NAME_PATTERN.fullmatch(path.name))
    }
    when = {path: (int(match[1]), int(match[2])) for path, match in found.items()}
    newest_first = sorted(
        found,
        key=lambda path: (*(-number for number in when[path]), _get_image_sort_key(found[path][3])),
    )
    return [(key, list(paths)) for key, paths in groupby(newest_first, when.__getitem__)]


def _get_image_sort_key(name: str) -> tuple[int, str]:
    return (_IMAGE_ORDER.index(name) if name in _IMAGE_ORDER else len(_IMAGE_ORDER), name)


def _format_image_title(path: Path) -> str:
    match = _IMAGE_NAME_PATTERN.fullmatch(path.name)
    assert match is not None, path
    return match[3].replace("_", " ")
