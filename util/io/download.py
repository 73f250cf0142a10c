"""Large files from hosts that break off, refuse, or answer with a web page: fetched whole, or not at all."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import requests
from tqdm import tqdm

from util.errors import UserError
from util.io.archive import unpack_archive

_CHUNK_BYTES = 1 << 16  # bytes; what a broken connection loses at most
_TIMEOUT_SECONDS = (15, 60)  # seconds to connect, and between two pieces


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch. page: where a person can fetch it with a browser; size in bytes and sha256, where known."""

    url: str
    page_url: str
    size: int | None = None
    sha256: str | None = None


def drive_file(drive_id: str, size: int | None = None, sha256: str | None = None) -> RemoteFile:
    """A file on Google Drive."""
    return RemoteFile(
        f"https://drive.usercontent.google.com/download?id={drive_id}&export=download",
        f"https://drive.google.com/file/d/{drive_id}/view",
        size,
        sha256,
    )


def download_and_unpack(remote: RemoteFile, path: Path, unpack_to: Path | None = None) -> None:
    """What a download script does: fetch to `path`, unpack and drop the archive, end with one line when it fails."""
    try:
        download_file(remote, path)
        if unpack_to is not None:
            written, kept = unpack_archive(path, unpack_to)
            path.unlink()
            print(f"{unpack_to}: {written} files unpacked, {kept} that were there already kept")
    except UserError as error:
        sys.exit(str(error))


def download_file(remote: RemoteFile, path: Path) -> None:
    """`remote` to `path`, unless a file that fits is there already; goes on where an earlier try broke off
    (`path`.part). UserError says how to fetch it by hand."""
    if path.exists():
        if fault := _find_mismatch(remote, path):
            raise UserError(
                f"{path}: {fault}; remove it and run this again, or save the file there by hand "
                f"from {remote.page_url}"
            )
        print(f"{path} is there already")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with requests.Session() as session:
        _download_with_retries(session, remote, path, part)
    if fault := _find_mismatch(remote, part):
        part.unlink()  # going on from it would not help
        raise UserError(_format_manual_instructions(remote, path, fault))
    part.replace(path)


def _download_with_retries(
    session: requests.Session, remote: RemoteFile, path: Path, partial_path: Path
) -> None:
    """Tries again for as long as each try gets further than the one before."""
    while True:
        before = _get_file_size(partial_path)
        try:
            return _resume_download(session, remote, path, partial_path)
        except requests.RequestException as error:
            if _get_file_size(partial_path) <= before:
                reason = (
                    f"the connection failed ({type(error).__name__}) with {_get_file_size(partial_path):,} bytes fetched "
                    "(run this again to go on)"
                )
                raise UserError(_format_manual_instructions(remote, path, reason)) from error


def _resume_download(
    session: requests.Session, remote: RemoteFile, path: Path, partial_path: Path
) -> None:
    """One try, from where the part ends if the host can."""
    start = _get_file_size(partial_path)
    if start and start == remote.size:
        return
    with _request_file(session, remote, path, start) as response:
        resumed = response.status_code == requests.codes.partial_content
        start = start if resumed else 0
        total = start + int(response.headers.get("Content-Length", 0))
        with (
            partial_path.open("ab" if resumed else "wb") as file,
            tqdm(
                desc=path.name, total=total or None, initial=start, unit="B", unit_scale=True
            ) as bar,
        ):
            for chunk in response.iter_content(_CHUNK_BYTES):
                bar.update(file.write(chunk))


def _request_file(
    session: requests.Session, remote: RemoteFile, path: Path, start: int
) -> requests.Response:
    """The answer that holds the file; a page that asks to confirm (Drive does for large files) is confirmed."""
    response = _get(session, remote.url, {}, start)
    if response.status_code == requests.codes.requested_range_not_satisfiable:
        response = _get(
            session, remote.url, {}, 0
        )  # the part is longer than the file: another file's
    if response.ok and _is_html(response):
        form = DownloadForm(response.text)
        if form.action is not None:
            response = _get(session, urljoin(response.url, form.action), form.fields, start)
    if response.ok and not _is_html(response):
        return response
    reason = (
        f"the host answered {response.status_code} {response.reason}"
        if not response.ok
        else f"the host sent a web page{_format_html_title(response)} instead of the file"
    )
    raise UserError(_format_manual_instructions(remote, path, reason))


def _get(
    session: requests.Session, url: str, fields: dict[str, str], start: int
) -> requests.Response:
    headers = {
        "Accept-Encoding": "identity"
    }  # else lengths and ranges would count compressed bytes
    if start:
        headers["Range"] = f"bytes={start}-"
    return session.get(url, params=fields, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS)


def _is_html(response: requests.Response) -> bool:
    return response.headers.get("Content-Type", "").lower().startswith("text/html")


def _format_html_title(response: requests.Response) -> str:
    match = re.search(r"<title>([^<]{1,80})", response.text, re.IGNORECASE)
    return f" ({match[1].strip()})" if match else ""


def _format_manual_instructions(remote: RemoteFile, path: Path, reason: str) -> str:
    return (
        f"{remote.url}: {reason}, expected the file for {path}; "
        f"open {remote.page_url} in a browser, save it as {path} and run this again"
    )


def _find_mismatch(remote: RemoteFile, path: Path) -> str | None:
    """Why a fetched file is not what was published, a web page saved by hand included."""
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
        file.seek(0)
        if head.startswith((b"<!doctype html", b"<html")):
            return "holds a web page, not the file"
        if remote.size not in (None, _get_file_size(path)):
            return f"holds {_get_file_size(path):,} bytes, expected {remote.size:,}"
        if (
            remote.sha256 is not None
            and hashlib.file_digest(file, "sha256").hexdigest() != remote.sha256
        ):
            return f"has not the published sha256 {remote.sha256}"
    return None


def _get_file_size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class DownloadForm(HTMLParser):
    """The form by which Google Drive has a download confirmed: where it goes and what it sends."""

    def __init__(self, html_text: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.feed(html_text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "form" and attributes.get("id") == "download-form":
            self.action = attributes.get("action")
        name, value = attributes.get("name"), attributes.get("value")
        if tag == "input" and self.action is not None and name is not None and value is not None:
            self.fields[name] = value
