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
from util.files import replacing

# what the readers of damaged archives raise: impossible offsets, unknown compressions and encryption among it
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError,
           NotImplementedError, RuntimeError)
LARGEST = 64 << 30  # bytes unpacked; the largest published archive holds 3 GB


@dataclass(frozen=True)
class Member:
    """A file in an archive. plain: neither link nor device."""

    name: str
    size: int
    plain: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, largest: int = LARGEST) -> tuple[int, int]:
    """Unpacks a zip or tar under `folder`; files already there stay as they are. -> (written, kept).

    UserError, before the first byte is written, when it is neither, when a member is a link or would lie outside
    `folder`, and when the whole is larger than `largest` or than the disk has room for."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                return _write(archive, _zip_members(file), folder, largest)
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as file:
                return _write(archive, _tar_members(file), folder, largest)
    except UserError:
        raise
    except (*_BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # a checksum, an impossible seek
            raise
        raise UserError(f"{archive}: damaged ({error}); remove it and fetch it again") from error
    raise UserError(f"{archive}: neither a zip nor a tar; remove it and fetch it again")


def _zip_members(file: zipfile.ZipFile) -> list[Member]:
    return [Member(info.filename, info.file_size, not stat.S_ISLNK(info.external_attr >> 16),
                   lambda info=info: file.open(info))  # type: ignore[misc]
            for info in file.infolist() if not info.filename.endswith("/")]


def _tar_members(file: tarfile.TarFile) -> list[Member]:
    return [Member(info.name, info.size, info.isreg(), lambda info=info: file.extractfile(info))  # type: ignore[misc]
            for info in file.getmembers() if not info.isdir()]


def _write(archive: Path, members: list[Member], folder: Path, largest: int) -> tuple[int, int]:
    _refuse_strays(archive, members, folder)
    missing = [member for member in members if not (folder / member.name).exists()]
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_floods(archive, missing, folder, largest)
    for member in missing:
        with replacing(folder / member.name) as temporary, temporary.open("wb") as target:
            source = member.open()
            assert source is not None, member.name
            with source:
                shutil.copyfileobj(source, target, 1 << 20)
    return len(missing), len(members) - len(missing)


def _refuse_strays(archive: Path, members: list[Member], folder: Path) -> None:
    home = folder.resolve()
    for member in members:
        if not member.plain or not _is_inside(home, member.name):
            raise UserError(f"{archive}: its member {member.name!r} is a link or would lie outside {folder}; "
                            "nothing was unpacked, do not trust this file")


def _is_inside(home: Path, name: str) -> bool:
    return home in (home / name).resolve().parents


def _refuse_floods(archive: Path, members: list[Member], folder: Path, largest: int) -> None:
    total = sum(member.size for member in members)
    room = min(largest, shutil.disk_usage(folder).free)
    if total > room:
        raise UserError(f"{archive}: unpacks to {total:,} bytes, expected at most {room:,} (what {folder} has room "
                        "for, or any honest archive needs); nothing was unpacked, make room or do not trust this file")
