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

from util.files import replacing


def document(title: str, subtitle: str, width: int) -> tuple[dominate.document, tags.main]:
    """An empty page and the element that its sections go to. width: of a picture, in pixels."""
    page = dominate.document(title=title)
    with page.head:
        tags.meta(charset="utf-8")
        tags.meta(name="viewport", content="width=device-width, initial-scale=1")
        tags.style(raw(_asset("style.css")))
    body = page.body.add(tags.main(style=f"--width: {width}px"))
    body.add(tags.header(tags.h1(title), tags.p(subtitle)))
    return page, body


def section(name: str, note: str = "") -> tags.section:
    return tags.section(tags.div(tags.h2(name), tags.span(note, cls="note"), cls="title"))


def row(figures: Iterable[tags.figure]) -> tags.div:
    return tags.div(*figures, cls="row")


def picture(folder: Path, path: Path, caption: str) -> tags.figure:
    """One that is loaded when it comes into sight, and opens alone when clicked."""
    source = address(folder, path)
    return tags.figure(tags.a(tags.img(src=source, alt=caption, loading="lazy"), href=source),
                       tags.figcaption(caption))


def viewer_script() -> tags.script:
    return tags.script(raw(_asset("viewer.js")))


def address(folder: Path, path: Path) -> str:
    """The page's own way to a file, so that the folder can be moved or published. Names may hold blanks, `#`, `%`."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def write(path: Path, page: dominate.document) -> None:
    with replacing(path) as temporary:
        temporary.write_text(page.render(), encoding="utf-8")


def _asset(name: str) -> str:
    return files("util").joinpath("page", name).read_text(encoding="utf-8")
