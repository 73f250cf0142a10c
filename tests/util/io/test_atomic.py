"""Tests of util/io/atomic.py: interruptions at every point of writing a set of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

import pytest

from util.errors import UserError
from util.io.atomic import MANIFEST_NAME, recover_interrupted_write, write_files_atomically

NAMES = ("a", "b", "c")
OLD, NEW = b"old", b"new"


class Killed(BaseException):
    """Ends the program like SIGKILL: nothing handles it."""


def save(folder: Path, content: bytes) -> None:
    def write(file: BinaryIO) -> None:
        file.write(content)

    write_files_atomically(folder, dict.fromkeys(NAMES, write))


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def is_killed_at(folder: Path, call: int, patch: pytest.MonkeyPatch) -> bool:
    """Save NEW, but end at the `call`-th rename or removal; False if there were fewer calls."""
    n_calls = 0

    def counted(original):
        def method(path: Path, *args: object, **kwargs: object) -> object:
            nonlocal n_calls
            n_calls += 1
            if n_calls >= call:
                raise Killed
            return original(path, *args, **kwargs)

        return method

    for name in ("replace", "unlink"):
        patch.setattr(Path, name, counted(getattr(Path, name)))
    try:
        save(folder, NEW)
    except Killed:
        return True
    finally:
        patch.undo()
    return False


def test_kill_between_any_two_files_leaves_a_consistent_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, recovered = 1, []
    while True:
        folder = tmp_path / str(call)
        save(folder, OLD)
        if not is_killed_at(folder, call, monkeypatch):
            break
        recover_interrupted_write(folder)
        contents = {(folder / name).read_bytes() for name in NAMES}
        assert len(contents) == 1
        recovered.append(contents.pop())
        save(folder, NEW)
        assert sorted(path.name for path in folder.iterdir()) == list(NAMES)
        call += 1
    # The old set until the manifest is written, the new set afterwards.
    assert recovered == sorted(recovered, reverse=True)
    assert set(recovered) == {OLD, NEW}


def test_failed_write_keeps_exactly_the_old_files(tmp_path: Path) -> None:
    save(tmp_path, OLD)

    def write(file: BinaryIO) -> None:
        file.write(NEW)

    def fail(_: BinaryIO) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write_files_atomically(tmp_path, {"a": write, "b": fail})
    recover_interrupted_write(tmp_path)
    assert read(tmp_path) == {"a": OLD, "b": OLD, "c": OLD}


@pytest.mark.parametrize(
    "manifest", ["not json", "{}", json.dumps(["../a"]), json.dumps(["/etc/x"]), json.dumps([3])]
)
def test_manifest_naming_other_folders_is_refused(tmp_path: Path, manifest: str) -> None:
    (tmp_path / MANIFEST_NAME).write_text(manifest)
    with pytest.raises(UserError, match="not a valid manifest"):
        recover_interrupted_write(tmp_path)
