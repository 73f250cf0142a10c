"""Archives from strangers: what they hold is looked at before anything is written."""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from util.errors import UserError
from util.io.atomic import atomic_write

# what the readers of damaged archives raise: impossible offsets, unknown compressions and encryption among it
_DAMAGED_ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)
MAX_UNPACKED_BYTES = 64 << 30  # bytes unpacked; the largest published archive holds 3 GB


@dataclass(frozen=True)
class ArchiveMember:
    """A file in an archive. plain: neither link nor device."""

    name: str
    size: int
    is_regular_file: bool
    open: Callable[[], IO[bytes] | None]


def unpack_archive(
    archive: Path, folder: Path, max_bytes: int = MAX_UNPACKED_BYTES
) -> tuple[int, int]:
    """Unpacks a zip or tar under `folder`; files already there stay as they are. -> (written, kept).

    UserError, before the first byte is written, when it is neither, when a member is a link or would lie outside
    `folder`, and when the whole is larger than `largest` or than the disk has room for."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                return _extract_members(archive, _list_zip_members(file), folder, max_bytes)
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as file:
                return _extract_members(archive, _list_tar_members(file), folder, max_bytes)
    except UserError:
        raise
    except (*_DAMAGED_ARCHIVE_ERRORS, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (
            None,
            errno.EINVAL,
        ):  # a checksum, an impossible seek
            raise
        raise UserError(f"{archive}: damaged ({error}); remove it and fetch it again") from error
    raise UserError(f"{archive}: neither a zip nor a tar; remove it and fetch it again")


def _list_zip_members(file: zipfile.ZipFile) -> list[ArchiveMember]:
    return [
        ArchiveMember(
            info.filename,
            info.file_size,
            not stat.S_ISLNK(info.external_attr >> 16),
            lambda info=info: file.open(info),  # type: ignore[misc]
        )
        for info in file.infolist()
        if not info.filename.endswith("/")
    ]


def _list_tar_members(file: tarfile.TarFile) -> list[ArchiveMember]:
    return [
        ArchiveMember(info.name, info.size, info.isreg(), lambda info=info: file.extractfile(info))  # type: ignore[misc]
        for info in file.getmembers()
        if not info.isdir()
    ]


def _extract_members(
    archive: Path, members: list[ArchiveMember], folder: Path, max_bytes: int
) -> tuple[int, int]:
    _check_paths(archive, members, folder)
    missing = [member for member in members if not (folder / member.name).exists()]
    folder.mkdir(parents=True, exist_ok=True)
    _check_size(archive, missing, folder, max_bytes)
    for member in missing:
        with atomic_write(folder / member.name) as temporary, temporary.open("wb") as target:
            source = member.open()
            assert source is not None, member.name
            with source:
                shutil.copyfileobj(source, target, 1 << 20)
    return len(missing), len(members) - len(missing)


def _check_paths(archive: Path, members: list[ArchiveMember], folder: Path) -> None:
    home = folder.resolve()
    for member in members:
        if not member.is_regular_file or not _is_inside(home, member.name):
            raise UserError(
                f"{archive}: its member {member.name!r} is a link or would lie outside {folder}; "
                "nothing was unpacked, do not trust this file"
            )


def _is_inside(root: Path, name: str) -> bool:
    return root in (root / name).resolve().parents


def _check_size(archive: Path, members: list[ArchiveMember], folder: Path, max_bytes: int) -> None:
    total = sum(member.size for member in members)
    room = min(max_bytes, shutil.disk_usage(folder).free)
    if total > room:
        raise UserError(
            f"{archive}: unpacks to {total:,} bytes, expected at most {room:,} (what {folder} has room "
            "for, or any honest archive needs); nothing was unpacked, make room or do not trust this file"
        )
