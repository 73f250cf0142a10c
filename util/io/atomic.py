"""Files that are either whole or not there, alone or as a set."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from util.errors import UserError

MANIFEST_NAME = ".saved.json"  # names of a set whose files are all written but may still lie under their temporary names


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, to be written by the caller; it takes `path`'s place when the block ends well
    and is removed when it does not. It keeps the suffix, which tells Pillow and PyAV the format. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # else a crash may leave the new name with no content
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_files_atomically(folder: Path, files: Mapping[str, Callable[[BinaryIO], None]]) -> None:
    """Files of one folder that belong together, each by the function that writes it.

    Whatever ends the program, and whenever: `settle` then leaves all of the old files or all of the new ones, for a
    journal says when the new ones are complete. One process at a time. OSError: nothing was replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recover_interrupted_write(folder)
    with ExitStack() as failed:
        for name, write in files.items():
            failed.callback(_temporary_path(folder, name).unlink, missing_ok=True)
            with _temporary_path(folder, name).open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
        with atomic_write(folder / MANIFEST_NAME) as journal:
            journal.write_text(json.dumps(list(files)))
        failed.pop_all()  # from here on the new files count
    recover_interrupted_write(folder)


def recover_interrupted_write(folder: Path) -> None:
    """Finishes what `write_together` had written whole when it was cut short; to be called before its files are read.

    Does nothing on a folder without a journal. UserError: a journal that names anything outside its folder.
    """
    journal = folder / MANIFEST_NAME
    if not journal.is_file():
        return
    _fsync_folder(folder)
    for name in _read_manifest(journal):
        if _temporary_path(
            folder, name
        ).is_file():  # else it took its place before the program ended
            _temporary_path(folder, name).replace(folder / name)
    _fsync_folder(folder)
    journal.unlink()
    _fsync_folder(
        folder
    )  # else a power cut brings the journal back, beside the next set's half-written files


def _temporary_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.new"


def _read_manifest(manifest: Path) -> list[str]:
    try:
        names = json.loads(manifest.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(
        isinstance(name, str) and Path(name).name == name for name in names
    ):
        raise UserError(f"{manifest} is no journal of a save of this program: remove it")
    return names


def _fsync_folder(folder: Path) -> None:
    """Renames in the folder reach the disk."""
    if os.name == "nt":  # which cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """Of the content: equal for equal files wherever they lie."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
