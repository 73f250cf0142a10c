"""Download large published files: resumable, verified, and with instructions for a manual download."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import gdown
import requests

from util.errors import UserError
from util.io.archive import unpack_archive

_TIMEOUT_SECONDS = (15, 60)  # to connect, and between two chunks
_N_RETRIES = 5  # per run, with growing pauses; each one resumes


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        url: Of the file itself.
        page_url: Where a person can download it with a browser.
        size: In bytes; None if unknown.
        sha256: Hexadecimal digest; None if unknown.
    """

    url: str
    page_url: str
    size: int | None = None
    sha256: str | None = None


def drive_file(drive_id: str, size: int | None = None, sha256: str | None = None) -> RemoteFile:
    """Describe a file on Google Drive."""
    return RemoteFile(
        f"https://drive.google.com/uc?id={drive_id}",
        f"https://drive.google.com/file/d/{drive_id}/view",
        size,
        sha256,
    )


def download_and_unpack(remote: RemoteFile, path: Path, unpack_to: Path | None = None) -> None:
    """Download a file and, if it is an archive to unpack, unpack and delete it.

    A failure ends the program with a message of one line.
    """
    try:
        download_file(remote, path)
        if unpack_to is not None:
            n_written, n_kept = unpack_archive(path, unpack_to)
            path.unlink()
            print(f"{unpack_to}: {n_written} files unpacked, {n_kept} existing files kept")
    except UserError as error:
        sys.exit(str(error))


def download_file(remote: RemoteFile, path: Path) -> None:
    """Download a file to `path`, unless a file that matches is already there.

    An interrupted download leaves `{path}XXXXXXXX.part`, from which the next call resumes.

    Raises:
        UserError: The download failed, or the file does not match; the message gives the manual instructions.
    """
    if path.exists():
        mismatch = _find_mismatch(remote, path)
        if mismatch:
            raise UserError(
                f"{path}: {mismatch}; remove it and run this again, or download it by hand from {remote.page_url}"
            )
        print(f"{path} already exists")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        gdown.download(
            remote.url,
            str(path),
            resume=True,
            retries=_N_RETRIES,
            timeout=_TIMEOUT_SECONDS,
            use_cookies=False,
        )
    except (gdown.DownloadError, requests.RequestException) as error:
        message = " ".join(str(error).split())  # gdown's messages have several lines
        reason = f"{message} (run this again to resume; remove {path}*.part first to start over)"
        raise UserError(_format_manual_instructions(remote, path, reason)) from error
    mismatch = _find_mismatch(remote, path)
    if mismatch:
        path.unlink()
        raise UserError(_format_manual_instructions(remote, path, f"the download {mismatch}"))


def _format_manual_instructions(remote: RemoteFile, path: Path, reason: str) -> str:
    return (
        f"{remote.url}: {reason}; or open {remote.page_url} in a browser, save the file as {path} "
        "and run this again"
    )


def _find_mismatch(remote: RemoteFile, path: Path) -> str | None:
    """Return how a file differs from the published one, None if it does not."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
        if head.startswith((b"<!doctype html", b"<html")):
            return "is a web page, not the file"
        if remote.size is not None and size != remote.size:
            return f"holds {size:,} bytes, expected {remote.size:,}"
        file.seek(0)
        if remote.sha256 and hashlib.file_digest(file, "sha256").hexdigest() != remote.sha256:
            return f"does not match the published sha256 {remote.sha256}"
    return None
