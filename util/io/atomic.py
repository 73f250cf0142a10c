"""Atomic writes: after an interruption a file has either its old or its new content.

A single file (`atomic_write`) is written under a temporary name and renamed. A set of files
(`write_files_atomically`) is committed in four steps:

1. Write each file NAME completely as `.NAME.new`.
2. Write the manifest, which lists the names. From here on the new files count.
3. Rename each `.NAME.new` to NAME.
4. Remove the manifest.

`recover_interrupted_write` repeats steps 3 and 4. If the program ends before step 2, there is no
manifest and the old files are unchanged; if it ends later, the recovery completes the set.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from util.errors import UserError

MANIFEST_NAME = ".saved.json"  # JSON list of the file names of a set, see above


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write; it replaces `path` if the block succeeds.

    If the block fails, the temporary file is removed and `path` is unchanged. The temporary path is
    in the same folder, which is created if needed. It has the same suffix, from which Pillow and
    PyAV choose the format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # otherwise a crash may leave an empty file under the new name
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_files_atomically(folder: Path, files: Mapping[str, Callable[[BinaryIO], None]]) -> None:
    """Write a set of files such that all or none of them are replaced.

    After an interruption, call `recover_interrupted_write` before reading the files. Only one
    process at a time may write to the folder.

    Args:
        folder: Folder of the files, created if needed.
        files: File name -> function that writes the content.

    Raises:
        OSError: A file could not be written; nothing was replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recover_interrupted_write(folder)
    with ExitStack() as undo:
        for name, write in files.items():
            temporary = _temporary_path(folder, name)
            undo.callback(temporary.unlink, missing_ok=True)
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
        with atomic_write(folder / MANIFEST_NAME) as manifest:
            manifest.write_text(json.dumps(list(files)))
        undo.pop_all()  # the set is committed: keep the temporary files
    recover_interrupted_write(folder)


def recover_interrupted_write(folder: Path) -> None:
    """Complete the renames of a committed set; do nothing if the folder has no manifest.

    Raises:
        UserError: The manifest is invalid or names a file outside the folder.
    """
    manifest = folder / MANIFEST_NAME
    if not manifest.is_file():
        return
    _fsync_folder(folder)
    for name in _read_manifest(manifest):
        temporary = _temporary_path(folder, name)
        if temporary.is_file():  # otherwise it was renamed before the interruption
            temporary.replace(folder / name)
    _fsync_folder(folder)
    manifest.unlink()
    # Otherwise a power failure may restore the manifest beside half-written files of the next set.
    _fsync_folder(folder)


def _temporary_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.new"


def _read_manifest(manifest: Path) -> list[str]:
    try:
        names = json.loads(manifest.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(_is_file_name(name) for name in names):
        raise UserError(
            f"{manifest} is not a valid manifest of an interrupted save, expected a JSON list of "
            "file names: remove it"
        )
    return names


def _is_file_name(name: object) -> bool:
    """Return whether this is a name without a folder."""
    return isinstance(name, str) and Path(name).name == name


def _fsync_folder(folder: Path) -> None:
    """Flush the folder's entries (renames, removals) to disk."""
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """Return a hash of the file's content: the first 32 hexadecimal digits of BLAKE2b."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
