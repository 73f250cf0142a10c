"""Folders of frames to aligned sequences; what does not fit is refused by name before any work."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data.frame_reader import FolderSpec
from util.errors import UserError, is_printable


@dataclass(frozen=True)
class FrameSequence:
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


def find_sequences(
    dataroot: Path | str,
    phase: str,
    folder_specs: Mapping[str, FolderSpec],
    allow_links: bool = False,
) -> tuple[FrameSequence, ...]:
    """The sequences under `{dataroot}/{phase}_{folder}` of every stream, matched by their sorted order (SPEC 2).

    A sequence is a leaf folder, or the stream's folder itself where that holds the files, and is named by its path in
    the first stream. allow_links: links inside those folders may lead out of the data root. UserError: a missing or
    empty folder, counts of sequences or frames that differ, or a link or a name that is not to be trusted.
    """
    roots = {
        stream: Path(dataroot) / f"{phase}_{about.folder}" for stream, about in folder_specs.items()
    }
    bounds = None if allow_links else Path(dataroot).resolve()
    folders = {
        stream: list(iter_leaf_folders(roots[stream], about, bounds))
        for stream, about in folder_specs.items()
    }
    first = next(iter(folder_specs))
    for stream, found in folders.items():
        _check_equal_counts(
            "sequence folders", roots[first], len(folders[first]), roots[stream], len(found)
        )
    return tuple(
        _make_sequence(roots[first], dict(zip(folders, aligned, strict=True)))
        for aligned in zip(*folders.values(), strict=True)
    )


LeafFolder = tuple[Path, tuple[Path, ...]]  # a folder and its frames


def _make_sequence(root: Path, leaf_folders: Mapping[str, LeafFolder]) -> FrameSequence:
    folder, frames = next(iter(leaf_folders.values()))
    for other, files in leaf_folders.values():
        hint = _describe_first_unpaired(frames, files) if len(files) != len(frames) else ""
        _check_equal_counts("frames", folder, len(frames), other, len(files), hint)
    name = root.name if folder == root else folder.relative_to(root).as_posix()
    return FrameSequence(name, {stream: files for stream, (_, files) in leaf_folders.items()})


def iter_leaf_folders(
    folder: Path, spec: FolderSpec, link_root: Path | None = None
) -> Iterator[LeafFolder]:
    """The folder itself, or those of its subfolders, in natural order."""
    entries = _list_entries(folder)
    for entry in entries:
        _check_entry(entry, link_root)
    subfolders = [entry for entry in entries if entry.is_dir()]
    frames = tuple(
        entry for entry in entries if entry.suffix.lower() in spec.suffixes and not entry.is_dir()
    )
    expected = f"expected frames ({' '.join(spec.suffixes)})"
    if subfolders and frames:
        raise UserError(
            f"{folder}: holds frames ({frames[0].name}) and folders ({subfolders[0].name}): "
            "give each sequence a folder of its own"
        )
    if not subfolders and not frames:
        raise UserError(
            f"{folder}: holds {len(entries)} files, none of them a frame; {expected}, "
            "one folder a sequence: fill or remove it"
        )
    for frame in frames:
        if not frame.is_file():
            raise UserError(
                f"{frame}: is not a file (a broken link?); {expected}: restore or remove it"
            )
    if frames:
        yield folder, frames
    for subfolder in subfolders:
        yield from iter_leaf_folders(subfolder, spec, link_root)


def _check_entry(entry: Path, link_root: Path | None) -> None:
    """What may come from somebody else's archive: names that cannot be printed, links that lead elsewhere or in
    circles. bounds: the resolved data root that links must not leave; None: they may."""
    if not is_printable(entry.name):
        raise UserError(
            f"{str(entry)!r}: its name holds a control character or bytes that are no text (UTF-8): "
            "rename it"
        )
    if entry.is_symlink():
        try:
            target = entry.resolve(strict=True)
        except (OSError, RuntimeError):  # Python before 3.13 tells of circles by a RuntimeError
            return  # broken: told of as a frame that is no file
        if target in entry.parent.resolve().parents or target == entry.parent.resolve():
            raise UserError(f"{entry}: a link to a folder that holds it: remove it")
        if link_root is not None and not target.is_relative_to(link_root):
            raise UserError(
                f"{entry}: a link to {target}, outside the data root {link_root}: give --allow_links if "
                "you made it, or put the files there"
            )


def _list_entries(folder: Path) -> list[Path]:
    """What a folder holds in natural order; hidden files (.DS_Store, .ipynb_checkpoints) do not count."""
    try:
        return sorted(
            (entry for entry in folder.iterdir() if not entry.name.startswith(".")),
            key=natural_order,
        )
    except OSError as fault:
        raise UserError(
            f"{folder}: {fault.strerror}; expected a folder of sequences: "
            "see --dataroot, --phase and --dataset_mode"
        ) from fault


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """frame2 before frame10: digits compare as numbers; equal numbers (7, 07) by their spelling."""
    pieces = re.split("([0-9]+)", path.name)
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], path.name


def frame_numbers(path: Path) -> list[int]:
    """The numbers that end the words of a file's name: [3, 294] of `frankfurt_000003_000294_leftImg8bit.png`."""
    return [int(number) for number in re.findall(r"([0-9]+)(?![0-9A-Za-z])", path.stem)]


def _describe_first_unpaired(frames: tuple[Path, ...], others: tuple[Path, ...]) -> str:
    """The first frame whose number no other file carries, in words."""
    known = [{tuple(frame_numbers(path)) for path in files} for files in (frames, others)]
    alone = [
        path
        for files, there in ((frames, known[1]), (others, known[0]))
        for path in files
        if tuple(frame_numbers(path)) not in there
    ]
    return f" (no partner: {alone[0].name})" if alone else ""


def _check_equal_counts(
    noun: str, folder: Path, count: int, other: Path, other_count: int, hint: str = ""
) -> None:
    if count != other_count:
        raise UserError(
            f"{folder} holds {count} {noun}, {other} holds {other_count}: folders correspond by sorted "
            f"order and need equal counts, add or remove what is missing{hint}"
        )
