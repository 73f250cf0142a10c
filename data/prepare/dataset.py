"""One video to the folders of a data set: read, cut, split, made and written, in constant memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from data.prepare.cuts import find_cuts
from data.prepare.makers import Content, Maker, NoCondition
from data.prepare.split import Piece, split_by_time
from util.errors import UserError
from util.files import replacing
from util.video import at_rate, probe, read_timed

JPEG: dict[str, Any] = {"quality": 95, "subsampling": 0}  # what compression leaves, the network would learn


@dataclass(frozen=True)
class Preparation:
    """rate: frames a second, None for the video's own. width: in pixels, None for its own; the height follows.
    test_share: of every shot, its end. shortest: frames that a sequence has at least."""

    rate: float | None = None
    width: int | None = None
    test_share: float = 0.2
    shortest: int = 8


@dataclass(frozen=True)
class Prepared:
    """Of one video: its pieces, those left out among them, and what else there is to say."""

    video: str
    rate: float
    pieces: tuple[Piece, ...]
    notes: tuple[str, ...] = ()


def prepare_video(video: Path, root: Path, maker: Maker, how: Preparation) -> Prepared:
    """Writes the video's sequences under `root`, or finds that they are there already, made in the same way.

    A record in `root`/.prepared is written last: a run that was cut off does that video again. UserError: no video.
    """
    record, settings = root / ".prepared" / f"{video.stem}.json", _settings(video, maker, how)
    if (done := _read_record(record, settings)) is not None:
        return done
    rate = Fraction(how.rate or probe(video).rate).limit_denominator(1001)
    n_frames, cuts, notes = survey(video, rate, how)
    pieces = [write_piece(piece, frames, root, maker) for piece, frames in _by_piece(
        split_by_time(video.stem, n_frames, cuts, how.test_share, how.shortest), _frames(video, rate, how))]
    prepared = Prepared(str(video), float(rate), tuple(pieces), tuple(notes))
    with replacing(record) as temporary:
        temporary.write_text(json.dumps({"settings": settings, "prepared": asdict(prepared)}))
    return prepared


def survey(video: Path, rate: Fraction, how: Preparation) -> tuple[int, list[int], list[str]]:
    """How many frames there are, where shots begin, and what was wrong: a video that breaks off is used up to there."""
    numbers, notes = count(), list[str]()
    frames = (frame for frame, _ in zip(as_far_as_it_goes(_frames(video, rate, how), notes), numbers, strict=False))
    cuts = list(find_cuts(frames))
    return next(numbers), cuts, notes


def as_far_as_it_goes(frames: Iterable[np.ndarray], notes: list[str]) -> Iterator[np.ndarray]:
    """The frames before the one that cannot be read, which is put into `notes`. UserError: that is the first one."""
    read = 0
    try:
        for frame in frames:
            read += 1
            yield frame
    except UserError as fault:
        if read == 0:
            raise
        notes.append(f"breaks off after {read} frames: {fault}")


def _frames(video: Path, rate: Fraction, how: Preparation) -> Iterator[np.ndarray]:
    for picture in at_rate(read_timed(video), rate):
        yield picture if how.width is None else resized(picture, how.width)


def resized(picture: np.ndarray, width: int) -> np.ndarray:
    """To a width in pixels, the height in proportion, both even: as videos want them."""
    height = max(2, round(picture.shape[0] * width / picture.shape[1] / 2) * 2)
    smaller = width < picture.shape[1]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def _by_piece(pieces: list[Piece], frames: Iterator[np.ndarray]) -> Iterator[tuple[Piece, Iterator[np.ndarray]]]:
    for piece in pieces:
        own = islice(frames, len(piece))
        yield piece, own
        for _ in own:  # what nobody wanted is passed over
            pass


def write_piece(piece: Piece, frames: Iterator[np.ndarray], root: Path, maker: Maker) -> Piece:
    """Pictures and conditions of a sequence to its phase's folders; left out, with the reason, if it has none."""
    if not piece.phase:
        return piece
    folders = {name: root / f"{piece.phase}_{name}" / piece.name for name in (maker.picture_folder, *maker.suffixes)}
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off

    def pictures() -> Iterator[np.ndarray]:
        for number, picture in enumerate(frames, piece.start + 1):
            _write(folders[maker.picture_folder] / f"{number:06}.jpg", picture)
            yield picture

    try:
        for number, contents in enumerate(maker(pictures(), piece.start), piece.start + 1):
            for name, content in contents.items():
                _write(folders[name] / f"{number:06}{maker.suffixes[name]}", content)
    except NoCondition as why:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
        return Piece(piece.name, piece.start, piece.stop, "", str(why))
    return piece


def _write(path: Path, content: Content) -> None:
    """In place: what a run that was cut off leaves is removed by the next one, which finds no record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        Image.fromarray(content).save(path, **JPEG if path.suffix == ".jpg" else {})


def _settings(video: Path, maker: Maker, how: Preparation) -> str:
    about = video.stat()
    return repr((maker, how, about.st_size, about.st_mtime_ns))


def _read_record(record: Path, settings: str) -> Prepared | None:
    if not record.is_file():
        return None
    saved: Mapping = json.loads(record.read_text())
    if saved["settings"] != settings:
        return None
    return Prepared(**{**saved["prepared"], "pieces": tuple(Piece(**piece) for piece in saved["prepared"]["pieces"]),
                       "notes": tuple(saved["prepared"]["notes"])})
