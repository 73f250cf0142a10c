"""The pages people look at: a training run's pictures so far, a test run's results. Plain files that work offline."""

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

from util import html
from util.charts import Curve, line_chart
from util.pictures import save_picture

SHOWN_ENTRIES = 200  # newest entries on the training page: it is written anew each time, and must stay quick to load
CURVE_POINTS = 200
LOSS = re.compile(r"(\S+): (\S+)")
PICTURE_NAME = re.compile(r"epoch(\d+)_step(\d+)_(.+)\.jpg")
PICTURE_ORDER = ("condition", "past", "generated", "predicted", "raw", "real", "flow", "reference_flow", "confidence",
                 "weight")


@dataclass(frozen=True)
class TrainingPage:
    """`folder`/index.html, newest entry first, over `folder`/images. All of it is read off the files in images, so
    that a resumed run goes on where the last one stood.

    title: the run's name; width: of a picture on the page, in pixels (`--display_winsize`).
    """

    folder: Path
    title: str
    width: int

    def add(self, epoch: int, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Saves an entry's pictures, (H, W, 3) uint8 by name (`PICTURE_ORDER` says which come first), and rewrites
        the page. step: clips since the run began."""
        for name, picture in pictures.items():
            save_picture(self.folder / "images" / f"epoch{epoch:03d}_step{step:06d}_{name}.jpg", picture)
        self.write()

    def write(self) -> None:
        """index.html from the files in images."""
        entries = _training_entries(self.folder / "images")
        page, body = html.document(self.title, f"{len(entries)} entries, newest first", self.width)
        if curves := loss_curves(self.folder.parent / "loss_log.txt"):
            body.add(html.section("Losses", "means of neighbours")).add(tags.div(*map(raw, curves), cls="row"))
        for (epoch, step), paths in entries[:SHOWN_ENTRIES]:
            section = body.add(html.section(f"Epoch {epoch}", f"step {step}"))
            section.add(html.row(html.picture(self.folder, path, _title_of(path)) for path in paths))
        if len(entries) > SHOWN_ENTRIES:
            body.add(tags.p(f"{len(entries) - SHOWN_ENTRIES} older entries are in the folder images."))
        html.write(self.folder / "index.html", page)


@dataclass(frozen=True)
class ResultStream:
    """One column of a results page. pictures: files, one a frame, in order; video: the same as an mp4."""

    title: str
    pictures: Sequence[Path]
    video: Path | None = None


@dataclass(frozen=True)
class ResultSequence:
    """A sequence's streams side by side: condition, generated, real. note: shown beside the name, a figure, say."""

    name: str
    streams: Sequence[ResultStream]
    note: str = ""

    @property
    def length(self) -> int:
        """Frames of the longest stream."""
        return max((len(stream.pictures) for stream in self.streams), default=0)


def write_results_page(folder: Path, sequences: Sequence[ResultSequence], title: str, width: int,
                       notes: Sequence[str] = ()) -> None:
    """`folder`/index.html over a test run's files, which it points to by paths relative to `folder`.

    title: the run's name; width: of a picture on the page, in pixels (`--display_winsize`).
    notes: shown above the sequences, a line each."""
    frames = sum(sequence.length for sequence in sequences)
    page, body = html.document(title, f"{len(sequences)} sequences, {frames} frames", width)
    if notes:
        body.add(html.section("Notes")).add(*(tags.p(note) for note in notes))
    for sequence in sequences:
        body.add(_result_section(folder, sequence))
    body.add(html.viewer_script())
    html.write(folder / "index.html", page)


def _result_section(folder: Path, sequence: ResultSequence) -> tags.section:
    """Videos, and a viewer (page/viewer.js) that holds one frame of each stream, whatever the sequence's length."""
    section = html.section(sequence.name, sequence.note or f"{sequence.length} frames")
    section["data-frames"] = str(sequence.length)
    section[0].add(tags.div(tags.button("Play / pause", cls="play"), cls="tools"))
    videos = [_video(folder, stream.video, stream.title) for stream in sequence.streams if stream.video is not None]
    if videos:
        section.add(html.row(videos))
    shown = [stream for stream in sequence.streams if stream.pictures]
    section.add(html.row([*_comparison(shown), *(_frame(number, stream.title) for number, stream in enumerate(shown))]))
    section.add(tags.div(tags.input_(type="range", cls="frame", min="0", max=str(sequence.length - 1), value="0",
                                     aria_label="frame"), tags.output(), cls="scrubber"))
    addresses = [{"title": s.title, "frames": [html.address(folder, path) for path in s.pictures]} for s in shown]
    section.add(tags.script(raw(json.dumps(addresses)), type="application/json"))  # addresses hold no < : quoted
    return section


def _frame(number: int, caption: str) -> tags.figure:
    return tags.figure(_current(number, caption), tags.figcaption(caption))


def _current(number: int, caption: str) -> tags.img:
    """The viewer's own picture of a stream: which file it shows is the script's business."""
    return tags.img(data_stream=str(number), alt=caption)


def _comparison(streams: Sequence[ResultStream]) -> list[tags.figure]:
    """Generated and real over each other, with a slider between them, where both are there."""
    numbers = {stream.title: number for number, stream in enumerate(streams)}
    if not {"generated", "real"} <= set(numbers):
        return []
    pictures = tags.div(*(_current(numbers[title], title) for title in ("generated", "real")), cls="compare")
    slider = tags.input_(type="range", cls="cut", min="0", max="100", value="50", aria_label="generated or real")
    return [tags.figure(pictures, slider, tags.figcaption("generated | real"))]


def _video(folder: Path, path: Path, caption: str) -> tags.figure:
    video = tags.video(src=html.address(folder, path), controls=True, loop=True, muted=True, playsinline=True,
                       preload="metadata")
    return tags.figure(video, tags.figcaption(caption))


def loss_curves(log: Path) -> list[str]:
    """SVG charts of a run's losses so far (`loss_log.txt`): the generator's and the discriminators'."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    for number, line in enumerate(line for line in lines if line.startswith("(epoch")):
        for name, value in LOSS.findall(line.split(") ", 1)[1]):
            x, y = found.setdefault(name, ([], []))
            x.append(number)
            y.append(float(value))
    curves = {name: smooth(*curve) for name, curve in sorted(found.items()) if len(curve[0]) > 1}
    sides: dict[str, dict[str, Curve]] = {"generator": {}, "discriminators": {}}
    for name, curve in curves.items():
        sides["discriminators" if name.startswith("D") else "generator"][name] = curve
    return [line_chart(side, "lines of loss_log.txt", curves, "log") for side, curves in sides.items() if curves]


def smooth(x: Sequence[float], y: Sequence[float]) -> Curve:
    """At most CURVE_POINTS points: means of neighbours."""
    parts = min(len(x), CURVE_POINTS)
    means = [np.array([part.mean() for part in np.array_split(np.asarray(values, float), parts)]) for values in (x, y)]
    return means[0], means[1]


def _training_entries(images: Path) -> list[tuple[tuple[int, int], list[Path]]]:
    """((epoch, step), pictures in their order) of all entries, newest first."""
    found = {path: match for path in images.glob("*.jpg") if (match := PICTURE_NAME.fullmatch(path.name))}
    when = {path: (int(match[1]), int(match[2])) for path, match in found.items()}
    newest_first = sorted(found, key=lambda path: (*(-number for number in when[path]), _rank(found[path][3])))
    return [(key, list(paths)) for key, paths in groupby(newest_first, when.__getitem__)]


def _rank(name: str) -> tuple[int, str]:
    return (PICTURE_ORDER.index(name) if name in PICTURE_ORDER else len(PICTURE_ORDER), name)


def _title_of(path: Path) -> str:
    match = PICTURE_NAME.fullmatch(path.name)
    assert match is not None, path
    return match[3].replace("_", " ")
