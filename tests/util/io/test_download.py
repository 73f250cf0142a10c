import hashlib
import http.server
import io
import threading
import zipfile
from dataclasses import dataclass, field

import numpy as np
import pytest

from util.errors import UserError
from util.io.download import (
    DownloadForm,
    RemoteFile,
    download_and_unpack,
    download_file,
    drive_file,
)

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUOTA_PAGE = (
    b"<html><head><title>Google Drive - Quota exceeded</title></head><body>Sorry</body></html>"
)
CONFIRM_PAGE = b"""<!DOCTYPE html><html><body><input name="q" value="search">
<form id="download-form" action="/confirmed" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="confirm" value="t">
<input type="hidden" name="uuid" value="a-b&amp;c"></form></body></html>"""


def zip_bytes(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


@dataclass
class Host:
    """A server on this machine, its address, and the (path, Range header) of each question it got."""

    address: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def remote(self, path, **known):
        return RemoteFile(self.address + path, "https://example.org/by-hand", **known)


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.host.asked.append((self.path, wanted))
        name, _, query = self.path.partition("?")
        if name == "/refused":
            self.send_error(403)
        elif name == "/quota":
            self.answer(QUOTA_PAGE, kind="text/html; charset=utf-8")
        elif name == "/confirm":
            self.answer(CONFIRM_PAGE, kind="text/html; charset=utf-8")
        elif name == "/confirmed":
            self.answer(CONTENT if query == "confirm=t&uuid=a-b%26c" else b"wrong")
        elif name == "/page-in-disguise":
            self.answer(QUOTA_PAGE)
        elif name == "/evil.zip":
            self.answer(zip_bytes({"good": b"x", "../evil": b"x"}))
        elif name == "/good.zip":
            self.answer(zip_bytes({"run/a": b"x"}))
        else:
            self.serve(name, int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0)

    def serve(self, name, start):
        """/file; /breaks stops after 1 MiB each time; /breaks-always does, and knows no ranges."""
        if name == "/breaks-always":
            start = 0
        if start > len(CONTENT):
            self.send_error(416)
            return
        self.answer(
            CONTENT[start:],
            status=206 if start else 200,
            sent=len(CONTENT) if name == "/file" else 1 << 20,
        )

    def answer(self, content, status=200, kind="application/octet-stream", sent=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:sent])


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def host():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.host = Host(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.host
        server.shutdown()
        thread.join()


def test_fetches_checks_and_does_not_fetch_twice(host, tmp_path):
    path = tmp_path / "new/file"
    remote = host.remote("/file", size=len(CONTENT), sha256=SHA256)
    download_file(remote, path)
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    download_file(remote, path)
    assert host.asked == [("/file", None)]


def test_download_resumes_after_a_broken_connection(host, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1234])
    download_file(host.remote("/file", sha256=SHA256), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert host.asked == [("/file", "bytes=1234-")]


def test_repeatedly_broken_connection_completes(host, tmp_path):
    download_file(host.remote("/breaks"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [wanted for _, wanted in host.asked] == [None, "bytes=1048576-", "bytes=2097152-"]


def test_truncated_file_is_not_accepted(host, tmp_path):
    with pytest.raises(UserError, match=r"1,048,576 bytes fetched.*run this again.*by-hand"):
        download_file(host.remote("/breaks-always"), tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file.part"]


def test_longer_partial_file_is_restarted(host, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    download_file(host.remote("/file"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_complete_partial_file_needs_no_request(tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    download_file(
        RemoteFile("http://127.0.0.1:9/", "page", len(CONTENT), SHA256), tmp_path / "file"
    )
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("/refused", "answered 403 Forbidden"),
        ("/quota", r"web page \(Google Drive - Quota exceeded\)"),
        ("/page-in-disguise", "holds a web page"),
    ],
)
def test_http_error_names_the_manual_download(host, tmp_path, address, found):
    with pytest.raises(
        UserError, match=f"{found}.*open https://example.org/by-hand .* save it as {tmp_path}/file"
    ):
        download_file(host.remote(address), tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_http_error_during_download_keeps_the_partial_file(host, tmp_path):
    (tmp_path / "file.part").write_bytes(b"half")
    with pytest.raises(UserError, match="403"):
        download_file(host.remote("/refused"), tmp_path / "file")
    assert (tmp_path / "file.part").read_bytes() == b"half"


@pytest.mark.parametrize("known", [{"size": 7}, {"sha256": "0" * 64}])
def test_file_with_a_wrong_hash_is_deleted(host, tmp_path, known):
    with pytest.raises(
        UserError, match=r"holds 3,000,000 bytes, expected 7|has not the published sha256"
    ):
        download_file(host.remote("/file", **known), tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_other_existing_file_is_refused_but_not_removed(host, tmp_path):
    (tmp_path / "file").write_bytes(QUOTA_PAGE)
    with pytest.raises(UserError, match="holds a web page.*remove it"):
        download_file(host.remote("/file"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == QUOTA_PAGE and not host.asked


def test_drive_confirmation_is_sent(host, tmp_path):
    download_file(host.remote("/confirm", sha256=SHA256), tmp_path / "file")
    assert [address for address, _ in host.asked] == [
        "/confirm",
        "/confirmed?confirm=t&uuid=a-b%26c",
    ]


def test_unreachable_host_is_reported(tmp_path):
    with pytest.raises(UserError, match="connection failed"):
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
    remote = drive_file("ID", size=1)
    assert remote == RemoteFile(
        "https://drive.usercontent.google.com/download?id=ID&export=download",
        "https://drive.google.com/file/d/ID/view",
        1,
        None,
    )
    assert DownloadForm(QUOTA_PAGE.decode()).action is None
