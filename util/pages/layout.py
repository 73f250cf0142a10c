"""Elements shared by all HTML pages. Style and scripts are inlined, so that pages work offline."""

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
    """Return an empty page and the element to which its sections are added.

    Args:
        title: Title of the page.
        subtitle: Line under the title.
        image_width: Width of an image, in pixels.
    """
    document = dominate.document(title=title)
    with document.head:
        tags.meta(charset="utf-8")
        tags.meta(name="viewport", content="width=device-width, initial-scale=1")
        tags.style(raw(_read_asset("style.css")))
    body = document.body.add(tags.main(style=f"--width: {image_width}px"))
    body.add(tags.header(tags.h1(title), tags.p(subtitle)))
    return document, body


def create_section(name: str, note: str = "") -> tags.section:
    """Return a section with a heading and a note."""
    return tags.section(tags.div(tags.h2(name), tags.span(note, cls="note"), cls="title"))


def create_row(figures: Iterable[tags.figure]) -> tags.div:
    """Return figures side by side."""
    return tags.div(*figures, cls="row")


def create_image_figure(folder: Path, path: Path, caption: str) -> tags.figure:
    """Return an image that loads when scrolled into view and links to its file.

    Args:
        folder: Folder of the page.
        path: Image file.
        caption: Text under the image.
    """
    url = make_relative_url(folder, path)
    image = tags.img(src=url, alt=caption, loading="lazy")
    return tags.figure(tags.a(image, href=url), tags.figcaption(caption))


def create_viewer_script() -> tags.script:
    """Return the script that drives the sequence viewers of a results page."""
    return tags.script(raw(_read_asset("viewer.js")))


def make_relative_url(folder: Path, path: Path) -> str:
    """Return the quoted URL of a file relative to the page's folder, which may then be moved."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def write_document(path: Path, document: dominate.document) -> None:
    """Write the page atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(document.render(), encoding="utf-8")


def _read_asset(name: str) -> str:
    return files("util").joinpath("pages", "assets", name).read_text(encoding="utf-8")
