"""The results page: image streams of generated sequences side by side, in a viewer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dominate import tags
from dominate.util import raw

from util.pages import layout

_COMPARED_TITLES = ("generated", "real")


@dataclass(frozen=True)
class ResultStream:
    """One column of a results page.

    Attributes:
        title: Title of the column.
        image_paths: Image files, one per frame, in order.
        video: The same frames as an mp4 file.
    """

    title: str
    image_paths: Sequence[Path]
    video: Path | None = None


@dataclass(frozen=True)
class ResultSequence:
    """The streams of a sequence, such as condition, generated and real.

    Attributes:
        name: Name of the sequence.
        streams: Columns of the page.
        note: Text next to the name; default: the number of frames.
    """

    name: str
    streams: Sequence[ResultStream]
    note: str = ""

    @property
    def n_frames(self) -> int:
        """Number of frames of the longest stream."""
        return max((len(stream.image_paths) for stream in self.streams), default=0)


def write_results_page(
    folder: Path,
    sequences: Sequence[ResultSequence],
    title: str,
    image_width: int,
    notes: Sequence[str] = (),
) -> None:
    """Write `folder`/index.html, which refers to the images and videos by relative paths.

    Args:
        folder: Folder of the page.
        sequences: Sequences to show.
        title: Title of the page.
        image_width: Width of an image on the page, in pixels (`--display_winsize`).
        notes: Paragraphs above the sequences.
    """
    n_frames = sum(sequence.n_frames for sequence in sequences)
    document, body = layout.create_document(
        title, f"{len(sequences)} sequences, {n_frames} frames", image_width
    )
    if notes:
        section = body.add(layout.create_section("Notes"))
        section.add(*(tags.p(note) for note in notes))
    for sequence in sequences:
        body.add(_create_result_section(folder, sequence))
    body.add(layout.create_viewer_script())
    layout.write_document(folder / "index.html", document)


def _create_result_section(folder: Path, sequence: ResultSequence) -> tags.section:
    """Return a section with the videos and a viewer of the images.

    The viewer (assets/viewer.js) has one image element per stream, for any number of frames. It
    reads the image URLs from a JSON script element.
    """
    section = layout.create_section(sequence.name, sequence.note or f"{sequence.n_frames} frames")
    section["data-frames"] = str(sequence.n_frames)
    title = section[0]
    title.add(tags.div(tags.button("Play / pause", cls="play"), cls="tools"))
    videos = [
        _create_video_figure(folder, stream.video, stream.title)
        for stream in sequence.streams
        if stream.video is not None
    ]
    if videos:
        section.add(layout.create_row(videos))
    streams = [stream for stream in sequence.streams if stream.image_paths]
    images = [_create_viewer_figure(index, stream.title) for index, stream in enumerate(streams)]
    section.add(layout.create_row([*_create_comparison(streams), *images]))
    section.add(_create_frame_slider(sequence.n_frames))
    section.add(_create_stream_data(folder, streams))
    return section


def _create_frame_slider(n_frames: int) -> tags.div:
    slider = tags.input_(
        type="range",
        cls="frame",
        min="0",
        max=str(n_frames - 1),
        value="0",
        aria_label="frame",
    )
    return tags.div(slider, tags.output(), cls="scrubber")


def _create_stream_data(folder: Path, streams: Sequence[ResultStream]) -> tags.script:
    """Return the titles and image URLs of the streams as JSON for the viewer."""
    data = []
    for stream in streams:
        urls = [layout.make_relative_url(folder, path) for path in stream.image_paths]
        data.append({"title": stream.title, "frames": urls})
    # Quoted URLs hold no "<", so that they cannot close the script element.
    return tags.script(raw(json.dumps(data)), type="application/json")


def _create_viewer_figure(stream_index: int, caption: str) -> tags.figure:
    return tags.figure(_create_viewer_image(stream_index, caption), tags.figcaption(caption))


def _create_viewer_image(stream_index: int, caption: str) -> tags.img:
    """Return an image element of a stream, whose source the viewer script sets."""
    return tags.img(data_stream=str(stream_index), alt=caption)


def _create_comparison(streams: Sequence[ResultStream]) -> list[tags.figure]:
    """Return a figure of generated over real images with a slider; none if either is missing."""
    stream_indices = {stream.title: index for index, stream in enumerate(streams)}
    if not all(title in stream_indices for title in _COMPARED_TITLES):
        return []
    images = [_create_viewer_image(stream_indices[title], title) for title in _COMPARED_TITLES]
    slider = tags.input_(
        type="range", cls="cut", min="0", max="100", value="50", aria_label="generated or real"
    )
    caption = tags.figcaption(" | ".join(_COMPARED_TITLES))
    return [tags.figure(tags.div(*images, cls="compare"), slider, caption)]


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
