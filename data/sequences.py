"""Folders of frames to aligned sequences; what does not fit is refused by name before any work."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data.domain import Stream
from util.errors import UserError


@dataclass(frozen=True)
class Sequence:
    """One video. files: each stream's frames in order, all of one length; the first stream names the frames."""

    name: str
    files: Mapping[str, tuple[Path, ...]]

    def __len__(self) -> int:
        return len(next(iter(self.files.values())))

    def paths(self, frame: int) -> dict[str, Path]:
        """The frame's file in each stream."""
        return {stream: files[frame] for stream, files in self.files.items()}

    def frame_name(self, frame: int) -> str:
        """`SEQUENCE/STEM`, as results are filed."""
        return f"{self.name}/{next(iter(self.files.values()))[frame].stem}"


def find_sequences(dataroot: Path | str, phase: str, streams: Mapping[str, Stream]) -> tuple[Sequence, ...]:
    """The sequences under `{dataroot}/{phase}_{folder}` of every stream, matched by their sorted order (SPEC 2).

    A sequence is a leaf folder, or the stream's folder itself where that holds the files, and is named by its path in
    the first stream. UserError: a missing or empty folder, or counts of sequences or frames that differ.
    """
    roots = {stream: Path(dataroot) / f"{phase}_{about.folder}" for stream, about in streams.items()}
    folders = {stream: list(leaves(roots[stream], about)) for stream, about in streams.items()}
    first = next(iter(streams))
    for stream, found in folders.items():
        _check_equal("sequence folders", roots[first], len(folders[first]), roots[stream], len(found))
    return tuple(_sequence(roots[first], dict(zip(folders, aligned, strict=True)))
                 for aligned in zip(*folders.values(), strict=True))


Leaf = tuple[Path, tuple[Path, ...]]  # a folder and its frames


def _sequence(root: Path, leaves: Mapping[str, Leaf]) -> Sequence:
    folder, frames = next(iter(leaves.values()))
    for other, files in leaves.values():
        _check_equal("frames", folder, len(frames), other, len(files))
    name = root.name if folder == root else folder.relative_to(root).as_posix()
    return Sequence(name, {stream: files for stream, (_, files) in leaves.items()})


def leaves(folder: Path, stream: Stream) -> Iterator[Leaf]:
    """The folder itself, or those of its subfolders, in natural order."""
    entries = _entries(folder)
    subfolders = [entry for entry in entries if entry.is_dir()]
    frames = tuple(entry for entry in entries if entry.suffix.lower() in stream.suffixes and not entry.is_dir())
    expected = f"expected frames ({' '.join(stream.suffixes)})"
    if subfolders and frames:
        raise UserError(f"{folder}: holds frames ({frames[0].name}) and folders ({subfolders[0].name}): "
                        "give each sequence a folder of its own")
    if not subfolders and not frames:
        raise UserError(f"{folder}: holds {len(entries)} files, none of them a frame; {expected}, "
                        "one folder a sequence: fill or remove it")
    for frame in frames:
        if not frame.is_file():
            raise UserError(f"{frame}: is not a file (a broken link?); {expected}: restore or remove it")
    if frames:
        yield folder, frames
    for subfolder in subfolders:
        yield from leaves(subfolder, stream)


def _entries(folder: Path) -> list[Path]:
    """What a folder holds in natural order; hidden files (.DS_Store, .ipynb_checkpoints) do not count."""
    try:
        return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=_natural)
    except OSError as fault:
        raise UserError(f"{folder}: {fault.strerror}; expected a folder of sequences: "
                        "see --dataroot, --phase and --dataset_mode") from fault


def _natural(path: Path) -> tuple[list[str | int], str]:
    """frame2 before frame10: digits compare as numbers; equal numbers (7, 07) by their spelling."""
    pieces = re.split("([0-9]+)", path.name)
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], path.name


def _check_equal(what: str, folder: Path, count: int, other: Path, other_count: int) -> None:
    if count != other_count:
        raise UserError(f"{folder} holds {count} {what}, {other} holds {other_count}: folders correspond by sorted "
                        "order and need equal counts, add or remove what is missing")
