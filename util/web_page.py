"""The pages people look at: a training run's pictures so far, a test run's results. Plain files that work offline."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import dominate
import numpy as np
from dominate import tags
from dominate.util import raw

from util.files import replacing
from util.pictures import save_picture

STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --faint: #6b7280; --paper: #fafafa; --card: #fff; --line: #e3e5e8 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e7ea; --faint: #9299a6; --paper: #14161a; --card: #1d2025; --line: #2d3138 }
}
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 120rem; background: var(--paper); color: var(--ink);
       font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem; font-weight: 600; margin: 0 } h2 { font-size: 1.05rem; font-weight: 600; margin: 0 }
p, .note, summary { color: var(--faint); margin: 0; font-variant-numeric: tabular-nums }
header { margin-bottom: 1.5rem }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.25rem 1.25rem;
          margin-bottom: 1.25rem }
.title { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem 1rem; margin-bottom: .75rem }
.row { display: flex; flex-wrap: wrap; gap: .75rem 1rem; margin-bottom: 1rem } .row:last-child { margin-bottom: 0 }
figure { margin: 0; width: min(100%, var(--width)) }
figcaption { color: var(--faint); font-size: .85rem }
img, video { display: block; width: 100%; height: auto; border-radius: 4px; background: var(--line) }
button { font: inherit; color: inherit; background: none; border: 1px solid var(--line); border-radius: 6px;
         padding: 0 .75rem; cursor: pointer; margin-left: auto }
summary { cursor: pointer; margin: .75rem 0 } .frames { max-height: 80vh; overflow-y: auto }
"""
PLAY_TOGETHER = """
const videos = [...this.closest('section').querySelectorAll('video')];
const start = videos.some(video => video.paused);
videos.forEach(video => { if (start) { video.currentTime = 0; video.play() } else video.pause() });
"""
SHOWN_ENTRIES = 200  # newest entries on the training page: it is written anew each time, and must stay quick to load
PICTURE_NAME = re.compile(r"epoch(\d+)_step(\d+)_(.+)\.jpg")
PICTURE_ORDER = ("condition", "generated", "raw", "real", "flow", "reference_flow", "confidence", "weight")


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
        document, body = _document(self.title, self.width, f"{len(entries)} entries, newest first")
        for (epoch, step), paths in entries[:SHOWN_ENTRIES]:
            section = body.add(_section(f"Epoch {epoch}", f"step {step}"))
            section.add(_row(_picture(self.folder, path, _title_of(path)) for path in paths))
        if len(entries) > SHOWN_ENTRIES:
            body.add(tags.p(f"{len(entries) - SHOWN_ENTRIES} older entries are in the folder images."))
        _write(self.folder / "index.html", document)


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


def write_results_page(folder: Path, sequences: Sequence[ResultSequence], title: str, width: int) -> None:
    """`folder`/index.html over a test run's files, which it points to by paths relative to `folder`.

    title: the run's name; width: of a picture on the page, in pixels (`--display_winsize`)."""
    frames = sum(_length(sequence) for sequence in sequences)
    document, body = _document(title, width, f"{len(sequences)} sequences, {frames} frames")
    for sequence in sequences:
        body.add(_result_section(folder, sequence))
    _write(folder / "index.html", document)


def _result_section(folder: Path, sequence: ResultSequence) -> tags.section:
    section = _section(sequence.name, sequence.note or f"{_length(sequence)} frames")
    videos = [(stream.title, stream.video) for stream in sequence.streams if stream.video is not None]
    if videos:
        section[0].add(tags.button("Play / pause all", onclick=PLAY_TOGETHER))
        section.add(_row(_video(folder, path, caption) for caption, path in videos))
    frames = section.add(tags.details(tags.summary("Frame by frame"), open=True)).add(tags.div(cls="frames"))
    for number in range(_length(sequence)):
        shown = [stream for stream in sequence.streams if number < len(stream.pictures)]
        frames.add(_row(_picture(folder, s.pictures[number], f"{s.title} · {s.pictures[number].stem}") for s in shown))
    return section


def _length(sequence: ResultSequence) -> int:
    return max(len(stream.pictures) for stream in sequence.streams)


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


def _document(title: str, width: int, subtitle: str) -> tuple[dominate.document, tags.main]:
    """An empty page and the element that its sections go to."""
    document = dominate.document(title=title)
    with document.head:
        tags.meta(charset="utf-8")
        tags.meta(name="viewport", content="width=device-width, initial-scale=1")
        tags.style(raw(STYLE))
    body = document.body.add(tags.main(style=f"--width: {width}px"))
    body.add(tags.header(tags.h1(title), tags.p(subtitle)))
    return document, body


def _section(name: str, note: str) -> tags.section:
    return tags.section(tags.div(tags.h2(name), tags.span(note, cls="note"), cls="title"))


def _row(figures: Iterable[tags.figure]) -> tags.div:
    return tags.div(*figures, cls="row")


def _picture(folder: Path, path: Path, caption: str) -> tags.figure:
    address = _address(folder, path)
    picture = tags.a(tags.img(src=address, alt=caption, loading="lazy"), href=address)
    return tags.figure(picture, tags.figcaption(caption))


def _video(folder: Path, path: Path, caption: str) -> tags.figure:
    video = tags.video(src=_address(folder, path), controls=True, loop=True, muted=True, playsinline=True,
                       preload="metadata")
    return tags.figure(video, tags.figcaption(caption))


def _address(folder: Path, path: Path) -> str:
    """The page's own way to a file, so that the folder can be moved or published. Names may hold blanks, `#`, `%`."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def _write(path: Path, document: dominate.document) -> None:
    with replacing(path) as temporary:
        temporary.write_text(document.render(), encoding="utf-8")
