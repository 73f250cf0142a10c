"""What all pages have in common: one design, inlined, so that each is a file that works offline and can be moved."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import dominate
from dominate import tags
from dominate.util import raw

from util.io.atomic import atomic_write


def create_document(
    title: str, subtitle: str, image_width: int
) -> tuple[dominate.document, tags.main]:
    """An empty page and the element that its sections go to. width: of an image, in pixels."""
    page = dominate.document(title=title)
    with page.head:
        tags.meta(charset="utf-8")
        tags.meta(name="viewport", content="width=device-width, initial-scale=1")
        tags.style(raw(_read_asset("style.css")))
    body = page.body.add(tags.main(style=f"--width: {image_width}px"))
    body.add(tags.header(tags.h1(title), tags.p(subtitle)))
    return page, body


def create_section(name: str, note: str = "") -> tags.section:
    return tags.section(tags.div(tags.h2(name), tags.span(note, cls="note"), cls="title"))


def create_row(figures: Iterable[tags.figure]) -> tags.div:
    return tags.div(*figures, cls="row")


def create_image_figure(folder: Path, path: Path, caption: str) -> tags.figure:
    """One that is loaded when it comes into sight, and opens alone when clicked."""
    source = make_relative_url(folder, path)
    return tags.figure(
        tags.a(tags.img(src=source, alt=caption, loading="lazy"), href=source),
        tags.figcaption(caption),
    )


def create_viewer_script() -> tags.script:
    return tags.script(raw(_read_asset("viewer.js")))


def make_relative_url(folder: Path, path: Path) -> str:
    """The page's own way to a file, so that the folder can be moved or published. Names may hold blanks, `#`, `%`."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def write_document(path: Path, document: dominate.document) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(document.render(), encoding="utf-8")


def _read_asset(name: str) -> str:
    return files("util").joinpath("pages", "assets", name).read_text(encoding="utf-8")
