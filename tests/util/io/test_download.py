"""Downloads from a local server that breaks off, refuses, or answers with a web page."""

import hashlib
import http.server
import io
import random
import threading
import zipfile
from dataclasses import dataclass, field

import numpy as np
import pytest
import requests

from util.errors import UserError
from util.io.download import RemoteFile, download_and_unpack, download_file, drive_file

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUOTA_PAGE = (
    b"<html><head><title>Google Drive - Quota exceeded</title></head>\n"
    b'<body><p class="uc-error-subcaption">Too many users have viewed this file</p>\n</body></html>'
)
CONFIRM_PAGE = (  # on one line, as Drive sends it
    b'<!DOCTYPE html><html><body><input name="q" value="search">'
    b'<form id="download-form" action="https://drive.google.com/confirmed" method="get">'
    b'<input type="submit" value="Download anyway"/><input type="hidden" name="confirm" value="t">'
    b'<input type="hidden" name="uuid" value="a-b&amp;c"></form></body></html>'
)


def zip_bytes(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


@dataclass
class Host:
    """A local server: its address, and the (path, Range header) of each request."""

    address: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def remote(self, path, **attributes):
        return RemoteFile(self.address + path, "https://example.org/by-hand", **attributes)


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        range_header = self.headers.get("Range")
        self.server.host.requests.append((self.path, range_header))
        name, _, query = self.path.partition("?")
        if name == "/refused":
            self.send_error(403)
        elif query == "id=quota":
            self.answer(QUOTA_PAGE, content_type="text/html; charset=utf-8")
        elif query == "id=confirm":
            self.answer(CONFIRM_PAGE, content_type="text/html; charset=utf-8")
        elif name == "/confirmed" and query != "confirm=t&uuid=a-b%26c":
            self.answer(b"wrong")
        elif name == "/disguised-page":
            self.answer(QUOTA_PAGE)
        elif name == "/evil.zip":
            self.answer(zip_bytes({"good": b"x", "../evil": b"x"}))
        elif name == "/good.zip":
            self.answer(zip_bytes({"run/a": b"x"}))
        else:
            start = range_header.removeprefix("bytes=").removesuffix("-") if range_header else 0
            self.serve_content(name, int(start))

    def serve_content(self, name, start):
        """Serve the content; /breaks sends 1 MiB per request; /breaks-always ignores ranges, too."""
        if name == "/breaks-always":
            start = 0
        if start > len(CONTENT):
            self.send_error(416)
            return
        self.answer(
            CONTENT[start:],
            status=206 if start else 200,
            n_sent=1 << 20 if name.startswith("/breaks") else None,
            content_range=f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}" if start else None,
        )

    def answer(
        self,
        content,
        status=200,
        content_type="application/octet-stream",
        n_sent=None,
        content_range=None,
    ):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        if content_range:
            self.send_header("Content-Range", content_range)
        if content_type != "text/html; charset=utf-8":
            self.send_header("Content-Disposition", 'attachment; filename="file"')
        self.end_headers()
        self.wfile.write(content[:n_sent])


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Use no proxy, and do not pause between retries."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)


@pytest.fixture
def host():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.host = Host(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.host
        server.shutdown()
        thread.join()


@pytest.fixture
def drive(host, monkeypatch):
    """The local server, in place of drive.google.com."""
    get = requests.Session.get

    def get_locally(session, url, **kwargs):
        return get(session, url.replace("https://drive.google.com", host.address), **kwargs)

    monkeypatch.setattr(requests.Session, "get", get_locally)
    return host


def test_fetches_checks_and_does_not_fetch_twice(host, tmp_path):
    path = tmp_path / "new/file"
    remote = host.remote("/file", size=len(CONTENT), sha256=SHA256)
    download_file(remote, path)
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    download_file(remote, path)
    assert host.requests == [("/file", None)]


def test_download_resumes_after_a_broken_connection(host, tmp_path):
    (tmp_path / "file01234567.part").write_bytes(CONTENT[:1234])
    download_file(host.remote("/file", sha256=SHA256), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert host.requests[-1] == ("/file", "bytes=1234-")


def test_repeatedly_broken_connection_completes(host, tmp_path):
    download_file(host.remote("/breaks"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [header for _, header in host.requests] == [None, "bytes=1048576-", "bytes=2097152-"]


def test_truncated_file_is_not_accepted(host, tmp_path):
    with pytest.raises(UserError, match=r"partial file is preserved.*run this again.*by-hand"):
        download_file(host.remote("/breaks-always"), tmp_path / "file")
    (partial,) = tmp_path.iterdir()
    assert partial.suffix == ".part" and partial.read_bytes() == CONTENT[: 1 << 20]


def test_longer_partial_file_is_not_accepted(host, tmp_path):
    partial = tmp_path / "file01234567.part"
    partial.write_bytes(CONTENT + b"more")
    with pytest.raises(UserError, match=r"remove .*/file\*\.part first to start over"):
        download_file(host.remote("/file"), tmp_path / "file")
    assert list(tmp_path.iterdir()) == [partial]


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/refused", "403 Client Error: Forbidden"), ("/disguised-page", "is a web page")],
)
def test_http_error_names_the_manual_download(host, tmp_path, path, reason):
    with pytest.raises(
        UserError,
        match=f"{reason}.*open https://example.org/by-hand .* save the file as {tmp_path}/file",
    ):
        download_file(host.remote(path), tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_http_error_during_download_keeps_the_partial_file(host, tmp_path):
    partial = tmp_path / "file01234567.part"
    partial.write_bytes(b"half")
    with pytest.raises(UserError, match="403"):
        download_file(host.remote("/refused"), tmp_path / "file")
    assert partial.read_bytes() == b"half"


@pytest.mark.parametrize("attributes", [{"size": 7}, {"sha256": "0" * 64}])
def test_file_with_a_wrong_hash_is_deleted(host, tmp_path, attributes):
    with pytest.raises(
        UserError, match=r"holds 3,000,000 bytes, expected 7|does not match the published sha256"
    ):
        download_file(host.remote("/file", **attributes), tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_other_existing_file_is_refused_but_not_removed(host, tmp_path):
    (tmp_path / "file").write_bytes(QUOTA_PAGE)
    with pytest.raises(UserError, match="is a web page.*remove it"):
        download_file(host.remote("/file"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == QUOTA_PAGE and not host.requests


def test_drive_confirmation_is_sent(drive, tmp_path):
    download_file(drive_file("confirm", sha256=SHA256), tmp_path / "file")
    assert [path for path, _ in drive.requests] == [
        "/uc?id=confirm",
        "/confirmed?confirm=t&uuid=a-b%26c",
    ]


def test_drive_download_resumes(drive, tmp_path):
    (tmp_path / "file01234567.part").write_bytes(CONTENT[:1234])
    download_file(drive_file("confirm", sha256=SHA256), tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert drive.requests[-1] == ("/confirmed?confirm=t&uuid=a-b%26c", "bytes=1234-")


def test_drive_quota_page_names_the_manual_download(drive, tmp_path):
    with pytest.raises(
        UserError, match=r"Too many users .* open https://drive\.google\.com/file/d/quota/view"
    ) as info:
        download_file(drive_file("quota"), tmp_path / "file")
    assert "\n" not in str(info.value) and not list(tmp_path.iterdir())


def test_unreachable_host_is_reported(tmp_path):
    with pytest.raises(UserError, match="Connection refused"):
        download_file(RemoteFile("http://127.0.0.1:9/", "page"), tmp_path / "file")


def test_install_unpacks_and_drops_the_archive(host, tmp_path, capsys):
    download_and_unpack(host.remote("/good.zip"), tmp_path / "good.zip", unpack_to=tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "a"]
    assert "1 files unpacked" in capsys.readouterr().out


def test_install_error_is_one_line(host, tmp_path):
    with pytest.raises(SystemExit, match=r"'\.\./evil' .* outside") as end:
        download_and_unpack(
            host.remote("/evil.zip"), tmp_path / "evil.zip", unpack_to=tmp_path / "out"
        )
    assert "\n" not in str(end.value)
    assert not (tmp_path / "evil").exists() and not list((tmp_path / "out").glob("*"))


def test_drive_urls():
    assert drive_file("ID", size=1) == RemoteFile(
        "https://drive.google.com/uc?id=ID", "https://drive.google.com/file/d/ID/view", 1, None
    )
