"""The training page: loss curves and images of a training run."""

from __future__ import annotations

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

MAX_TRAINING_ENTRIES = 200  # the page is rewritten at each entry and must load quickly
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
    """The page `folder`/index.html over the images in `folder`/images, newest entry first.

    The content is read from the names of the images and from loss_log.txt, so that a resumed run
    continues the page.

    Attributes:
        folder: Folder of the page, in the folder of the run.
        title: Name of the run.
        image_width: Width of an image on the page, in pixels (`--display_winsize`).
    """

    folder: Path
    title: str
    image_width: int

    def add_entry(self, epoch: int, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Save the images of an entry and rewrite the page.

        Args:
            epoch: Current epoch.
            step: Clips trained since the start of the run.
            images: (H, W, 3) uint8 by name. Names in _IMAGE_ORDER come first.
        """
        for name, image in images.items():
            file_name = f"epoch{epoch:03d}_step{step:06d}_{name}.jpg"
            save_image(self.folder / "images" / file_name, image)
        self.write()

    def write(self) -> None:
        """Write index.html with the loss curves and the newest MAX_TRAINING_ENTRIES entries."""
        entries = _list_training_entries(self.folder / "images")
        document, body = layout.create_document(
            self.title, f"{len(entries)} entries, newest first", self.image_width
        )
        charts = render_loss_curves(self.folder.parent / "loss_log.txt")
        if charts:
            section = body.add(layout.create_section("Losses", "means of neighbors"))
            section.add(tags.div(*(raw(chart) for chart in charts), cls="row"))
        for (epoch, step), paths in entries[:MAX_TRAINING_ENTRIES]:
            section = body.add(layout.create_section(f"Epoch {epoch}", f"step {step}"))
            figures = [
                layout.create_image_figure(self.folder, path, _format_image_title(path))
                for path in paths
            ]
            section.add(layout.create_row(figures))
        n_omitted = len(entries) - MAX_TRAINING_ENTRIES
        if n_omitted > 0:
            body.add(tags.p(f"{n_omitted} older entries are in the folder images."))
        layout.write_document(self.folder / "index.html", document)


def render_loss_curves(log_path: Path) -> list[str]:
    """Return SVG charts of the losses in loss_log.txt: generator's and discriminators'.

    The x axis counts the lines with losses. A loss needs two values to be drawn.
    """
    points = _read_loss_log(log_path)
    curves = {name: downsample_curve(x, y) for name, (x, y) in sorted(points.items()) if len(x) > 1}
    charts: dict[str, dict[str, PlotCurve]] = {"generator": {}, "discriminators": {}}
    for name, curve in curves.items():
        title = "discriminators" if name.startswith("D") else "generator"
        charts[title][name] = curve
    return [
        render_line_chart(title, "lines of loss_log.txt", chart_curves, "log")
        for title, chart_curves in charts.items()
        if chart_curves
    ]


def _read_loss_log(log_path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Return the points (x, y) of each loss by name; none if the file does not exist."""
    if not log_path.is_file():
        return {}
    lines = log_path.read_text(encoding="utf-8").splitlines()
    loss_lines = [line for line in lines if line.startswith("(epoch")]
    points: dict[str, tuple[list[int], list[float]]] = {}
    for index, line in enumerate(loss_lines):
        losses = line.split(") ", 1)[1]
        for name, value in _LOSS_PATTERN.findall(losses):
            x, y = points.setdefault(name, ([], []))
            x.append(index)
            y.append(float(value))
    return points


def downsample_curve(x: Sequence[float], y: Sequence[float]) -> PlotCurve:
    """Reduce a curve to at most MAX_CURVE_POINTS points, the means of consecutive points."""
    n_points = min(len(x), MAX_CURVE_POINTS)

    def chunk_means(values: Sequence[float]) -> np.ndarray:
        chunks = np.array_split(np.asarray(values, float), n_points)
        return np.array([chunk.mean() for chunk in chunks])

    return chunk_means(x), chunk_means(y)


def _list_training_entries(image_folder: Path) -> list[tuple[tuple[int, int], list[Path]]]:
    """Return ((epoch, step), images in display order) of all entries, newest first."""
    images = []
    for path in image_folder.glob("*.jpg"):
        match = _IMAGE_NAME_PATTERN.fullmatch(path.name)
        if match is None:
            continue
        epoch, step, name = int(match[1]), int(match[2]), match[3]
        sort_key = (-epoch, -step, *_get_image_sort_key(name))
        images.append((sort_key, (epoch, step), path))
    images.sort(key=lambda image: image[0])
    return [
        (entry, [path for _, _, path in group])
        for entry, group in groupby(images, key=lambda image: image[1])
    ]


def _get_image_sort_key(name: str) -> tuple[int, str]:
    index = _IMAGE_ORDER.index(name) if name in _IMAGE_ORDER else len(_IMAGE_ORDER)
    return index, name


def _format_image_title(path: Path) -> str:
    match = _IMAGE_NAME_PATTERN.fullmatch(path.name)
    assert match is not None, path
    return match[3].replace("_", " ")
