"""Unpack archives from untrusted sources: every member is checked before anything is written."""

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

# what zipfile and tarfile raise for damaged, encrypted or unsupported archives
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
MAX_UNPACKED_BYTES = 64 << 30  # the largest published archive holds 3 GB
_COPY_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class ArchiveMember:
    """A member of an archive that is not a folder.

    Attributes:
        name: Its path in the archive.
        size: In bytes, unpacked.
        is_safe: It is a regular file (no link, no device) that would lie inside the folder.
        open: Opens it for reading.
    """

    name: str
    size: int
    is_safe: bool
    open: Callable[[], IO[bytes] | None]


def unpack_archive(
    archive: Path, folder: Path, max_bytes: int = MAX_UNPACKED_BYTES
) -> tuple[int, int]:
    """Unpack a zip or tar file into a folder, without overwriting existing files.

    Each file is written under a temporary name first, so that an interruption leaves no partial file.

    Args:
        archive: The file.
        folder: Where to unpack.
        max_bytes: Maximum unpacked size; protects against archives that unpack to far more than they hold.

    Returns:
        Number of files written, and number of existing files kept.

    Raises:
        UserError: Before the first byte is written: the file is neither a zip nor a tar file, a member is a link or
            would lie outside `folder`, or the unpacked size exceeds `max_bytes` or the free disk space. Later: a
            member is damaged.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zip_file:
                members = _list_zip_members(zip_file, folder)
                return _extract_members(archive, members, folder, max_bytes)
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar_file:
                members = _list_tar_members(tar_file, folder)
                return _extract_members(archive, members, folder, max_bytes)
    except UserError:
        raise
    except _DAMAGED_ARCHIVE_ERRORS as error:
        raise _damaged_archive_error(archive, error) from error
    except OSError as error:
        # no number: a wrong checksum; EINVAL: an impossible offset; others come from the disk
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged_archive_error(archive, error) from error
    raise UserError(f"{archive}: neither a zip nor a tar file; remove it and download it again")


def _damaged_archive_error(archive: Path, error: Exception) -> UserError:
    return UserError(f"{archive}: damaged ({error}); remove it and download it again")


def _list_zip_members(file: zipfile.ZipFile, folder: Path) -> list[ArchiveMember]:
    root = folder.resolve()
    return [
        ArchiveMember(
            info.filename,
            info.file_size,
            _is_safe_zip_member(info, root),
            lambda info=info: file.open(info),  # type: ignore[misc]
        )
        for info in file.infolist()
        if not info.filename.endswith("/")
    ]


def _is_safe_zip_member(info: zipfile.ZipInfo, root: Path) -> bool:
    is_link = stat.S_ISLNK(info.external_attr >> 16)
    return not is_link and root in (root / info.filename).resolve().parents


def _list_tar_members(file: tarfile.TarFile, folder: Path) -> list[ArchiveMember]:
    return [
        ArchiveMember(
            info.name,
            info.size,
            _is_safe_tar_member(info, folder),
            lambda info=info: file.extractfile(info),  # type: ignore[misc]
        )
        for info in file.getmembers()
        if not info.isdir()
    ]


def _is_safe_tar_member(info: tarfile.TarInfo, folder: Path) -> bool:
    """Apply the standard library's data filter; stricter, links and absolute paths are never safe."""
    try:
        filtered = tarfile.data_filter(info, str(folder))
    except tarfile.FilterError:
        return False
    return info.isreg() and filtered.name == info.name


def _extract_members(
    archive: Path, members: list[ArchiveMember], folder: Path, max_bytes: int
) -> tuple[int, int]:
    for member in members:
        if not member.is_safe:
            raise UserError(
                f"{archive}: its member {member.name!r} is a link or would lie outside {folder}; "
                "nothing was unpacked, do not trust this file"
            )
    missing = [member for member in members if not (folder / member.name).exists()]
    folder.mkdir(parents=True, exist_ok=True)
    _check_size(archive, missing, folder, max_bytes)
    for member in missing:
        with atomic_write(folder / member.name) as temporary, temporary.open("wb") as target:
            source = member.open()
            assert source is not None, member.name
            with source:
                shutil.copyfileobj(source, target, _COPY_CHUNK_BYTES)
    return len(missing), len(members) - len(missing)


def _check_size(archive: Path, members: list[ArchiveMember], folder: Path, max_bytes: int) -> None:
    n_bytes = sum(member.size for member in members)
    limit = min(max_bytes, shutil.disk_usage(folder).free)
    if n_bytes > limit:
        raise UserError(
            f"{archive}: unpacks to {n_bytes:,} bytes, expected at most {limit:,} (free space in {folder}, or the "
            "limit for archives); nothing was unpacked, free disk space or do not trust this file"
        )
