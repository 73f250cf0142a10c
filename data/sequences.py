"""Find the sequences of a data set in its folders and match them across the folders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.frame_reader import FolderSpec
from util.errors import UserError, is_printable

LeafFolder = tuple[Path, tuple[Path, ...]]  # a folder and its frame files


@dataclass(frozen=True)
class FrameSequence:
    """One video of a data set.

    Attributes:
        name: path of its folder under the folder of the first key.
        files: by key (see `FrameReader.folder_specs`), one file per frame, in order. All are
            equally long. The files of the first key name the frames.
    """

    name: str
    files: Mapping[str, tuple[Path, ...]]

    def __len__(self) -> int:
        return len(self._first_files)

    @property
    def _first_files(self) -> tuple[Path, ...]:
        return next(iter(self.files.values()))

    def paths(self, frame: int) -> dict[str, Path]:
        """Return the files of a frame, by key."""
        return {key: files[frame] for key, files in self.files.items()}

    def frame_name(self, frame: int) -> str:
        """Return `SEQUENCE/STEM`, the name under which results of the frame are saved."""
        return f"{self.name}/{self._first_files[frame].stem}"


def find_sequences(
    dataroot: Path | str,
    phase: str,
    folder_specs: Mapping[str, FolderSpec],
    allow_links: bool = False,
) -> tuple[FrameSequence, ...]:
    """Find the sequences under the folders `{dataroot}/{phase}_{folder}`.

    A sequence is a leaf folder, or the folder itself if it holds the frames. The leaf folders of all
    specs correspond by their sorted order, and so do the frames in them.

    Args:
        dataroot: root of the data set.
        phase: prefix of the folders, for example `train`.
        folder_specs: the folders by key; the first names the sequences and frames.
        allow_links: whether symbolic links may point out of the data root.

    Raises:
        UserError: a folder is missing or empty, numbers of sequences or frames differ, or a link or
            file name is unsafe.
    """
    roots = {key: Path(dataroot) / f"{phase}_{spec.folder}" for key, spec in folder_specs.items()}
    link_root = None if allow_links else Path(dataroot).resolve()
    leaf_folders = {
        key: list(iter_leaf_folders(roots[key], spec, link_root))
        for key, spec in folder_specs.items()
    }
    first = next(iter(folder_specs))
    for key, folders in leaf_folders.items():
        _check_equal_counts(
            "sequence folders", roots[first], len(leaf_folders[first]), roots[key], len(folders)
        )
    return tuple(
        _make_sequence(roots[first], dict(zip(leaf_folders, matched, strict=True)))
        for matched in zip(*leaf_folders.values(), strict=True)
    )


def _make_sequence(root: Path, leaf_folders: Mapping[str, LeafFolder]) -> FrameSequence:
    """Build a sequence from its matched leaf folders; `root` is the folder of the first key."""
    folder, frames = next(iter(leaf_folders.values()))
    for other_folder, other_frames in leaf_folders.values():
        hint = ""
        if len(frames) != len(other_frames):
            hint = _describe_first_unpaired(frames, other_frames)
        _check_equal_counts("frames", folder, len(frames), other_folder, len(other_frames), hint)
    name = root.name if folder == root else folder.relative_to(root).as_posix()
    return FrameSequence(name, {key: files for key, (_, files) in leaf_folders.items()})


def iter_leaf_folders(
    folder: Path, spec: FolderSpec, link_root: Path | None = None
) -> Iterator[LeafFolder]:
    """Yield the folders below `folder`, or itself, that hold frames, in natural order.

    Args:
        folder: where to search.
        spec: the suffixes that frames have.
        link_root: resolved folder that symbolic links must stay in; None: they may point anywhere.

    Raises:
        UserError: a folder cannot be listed, holds no frames, or holds both frames and folders; or a
            link or file name is unsafe.
    """
    entries = _list_entries(folder)
    for entry in entries:
        _check_entry(entry, link_root)
    subfolders = [entry for entry in entries if entry.is_dir()]
    frames = [
        entry for entry in entries if entry.suffix.lower() in spec.suffixes and not entry.is_dir()
    ]
    _check_folder_content(folder, spec, entries, subfolders, frames)
    if frames:
        yield folder, tuple(frames)
    for subfolder in subfolders:
        yield from iter_leaf_folders(subfolder, spec, link_root)


def _check_folder_content(
    folder: Path,
    spec: FolderSpec,
    entries: Sequence[Path],
    subfolders: Sequence[Path],
    frames: Sequence[Path],
) -> None:
    expected = f"expected frames ({' '.join(spec.suffixes)})"
    if subfolders and frames:
        raise UserError(
            f"{folder}: holds frames ({frames[0].name}) and folders ({subfolders[0].name}): "
            "put each sequence into its own folder"
        )
    if not subfolders and not frames:
        raise UserError(
            f"{folder}: holds {len(entries)} files, none of them a frame; {expected}, "
            "one folder per sequence: fill or remove it"
        )
    for frame in frames:
        if not frame.is_file():
            raise UserError(
                f"{frame}: is not a file (a broken link?); {expected}: restore or remove it"
            )


def _check_entry(entry: Path, link_root: Path | None) -> None:
    """Raise UserError for what an untrusted archive may contain.

    These are names that cannot be printed, links out of `link_root` and circular links.
    """
    if not is_printable(entry.name):
        raise UserError(
            f"{str(entry)!r}: its name holds a control character or bytes that are no text (UTF-8): "
            "rename it"
        )
    if not entry.is_symlink():
        return
    try:
        target = entry.resolve(strict=True)
    except (OSError, RuntimeError):  # Python before 3.13 raises RuntimeError for circular links
        return  # a broken link: refused as a frame that is not a file
    parent = entry.parent.resolve()
    if target == parent or target in parent.parents:
        raise UserError(f"{entry}: a link to a folder that holds it: remove it")
    if link_root is not None and not target.is_relative_to(link_root):
        raise UserError(
            f"{entry}: a link to {target}, outside the data root {link_root}: give --allow_symlinks if "
            "you made it, or put the files there"
        )


def _list_entries(folder: Path) -> list[Path]:
    """List a folder in natural order, without hidden files (.DS_Store, .ipynb_checkpoints)."""
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(
            f"{folder}: {error.strerror}; expected a folder of sequences: "
            "see --dataroot, --phase and --dataset_mode"
        ) from error
    return sorted(entries, key=natural_order)


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """Return a sort key by which frame2 precedes frame10.

    Digits are compared as numbers, equal numbers (7, 07) by their spelling.
    """
    parts = re.split("([0-9]+)", path.name)  # text and digits alternate, starting with text
    key = [int(part) if i % 2 else part for i, part in enumerate(parts)]
    return key, path.name


def frame_numbers(path: Path) -> list[int]:
    """Return the numbers at the ends of words in a file's name.

    For `frankfurt_000003_000294_leftImg8bit.png` these are [3, 294].
    """
    return [int(digits) for digits in re.findall(r"([0-9]+)(?![0-9A-Za-z])", path.stem)]


def _describe_first_unpaired(frames: Sequence[Path], other_frames: Sequence[Path]) -> str:
    """Return a hint that names the first frame with a number that no frame of the other has."""
    numbers = {tuple(frame_numbers(path)) for path in frames}
    other_numbers = {tuple(frame_numbers(path)) for path in other_frames}
    unpaired = [path for path in frames if tuple(frame_numbers(path)) not in other_numbers]
    unpaired += [path for path in other_frames if tuple(frame_numbers(path)) not in numbers]
    return f" (no partner: {unpaired[0].name})" if unpaired else ""


def _check_equal_counts(
    noun: str, folder: Path, count: int, other: Path, other_count: int, hint: str = ""
) -> None:
    if count != other_count:
        raise UserError(
            f"{folder} holds {count} {noun}, {other} holds {other_count}: folders correspond by sorted "
            f"order and need equal counts, add or remove what is missing{hint}"
        )
