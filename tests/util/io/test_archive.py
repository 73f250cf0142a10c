"""Unpacking of good, damaged and hostile archives."""

import io
import tarfile
import zipfile

import pytest

from util.errors import UserError
from util.io.archive import unpack_archive


def make_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def make_tar(path, members, member_type=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.type = member_type
            info.size = len(content)
            info.linkname = "/etc/passwd" if member_type == tarfile.SYMTYPE else ""
            file.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("make", "name"), [(make_zip, "a.zip"), (make_tar, "a.tar.gz")])
def test_unpacking_keeps_existing_files(tmp_path, make, name):
    archive = make(tmp_path / name, {"run/a.pth": b"new", "run/deep/b.pth": b"B" * 5000})
    (tmp_path / "out/run").mkdir(parents=True)
    (tmp_path / "out/run/a.pth").write_bytes(b"existing")
    assert unpack_archive(archive, tmp_path / "out") == (1, 1)
    assert (tmp_path / "out/run/a.pth").read_bytes() == b"existing"
    assert (tmp_path / "out/run/deep/b.pth").read_bytes() == b"B" * 5000
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 2


@pytest.mark.parametrize(("make", "name"), [(make_zip, "a.zip"), (make_tar, "a.tar.gz")])
@pytest.mark.parametrize("stray", ["../stray", "run/../../stray", "/tmp/vid2vid_stray"])
def test_paths_outside_the_folder_are_refused(tmp_path, make, name, stray):
    archive = make(tmp_path / name, {"fine": b"x", stray: b"x"})
    with pytest.raises(UserError, match="stray"):
        unpack_archive(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]


def test_links_are_refused(tmp_path):
    with pytest.raises(UserError, match="link"):
        unpack_archive(
            make_tar(tmp_path / "a.tar.gz", {"sneaky": b""}, tarfile.SYMTYPE), tmp_path / "out"
        )
    info = zipfile.ZipInfo("sneaky")
    info.external_attr = 0o120777 << 16
    with pytest.raises(UserError, match="link"):
        unpack_archive(make_zip(tmp_path / "a.zip", {info: b"/etc/passwd"}), tmp_path / "out")


def test_existing_symlink_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="outside"):
        unpack_archive(make_zip(tmp_path / "a.zip", {"link/elsewhere": b"x"}), tmp_path / "out")


def test_zip_bomb_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"zeros": bytes(100_000)})
    assert archive.stat().st_size < 1000
    with pytest.raises(UserError, match=r"100,000 bytes, expected at most 50,000"):
        unpack_archive(archive, tmp_path / "out", max_bytes=50_000)
    assert not list((tmp_path / "out").iterdir())


def test_damaged_archive_is_reported(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"a": b"abcdefgh" * 99}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[100] ^= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip: damaged"):
        unpack_archive(archive, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*"))
    archive.write_bytes(content[:500])
    with pytest.raises(UserError, match="neither a zip nor a tar file"):
        unpack_archive(archive, tmp_path / "out")


def test_a_member_without_a_name_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"x": b"1"})
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b"x", b"\0"))  # zipfile ends names at a zero byte
    with pytest.raises(UserError, match="nothing was unpacked"):
        unpack_archive(archive, tmp_path / "out")
