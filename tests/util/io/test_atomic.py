from __future__ import annotations

import json
from pathlib import Path

import pytest

from util.errors import UserError
from util.io.atomic import MANIFEST_NAME, recover_interrupted_write, write_files_atomically

OLD, NEW = b"old", b"new"


class Killed(BaseException):
    """As a SIGKILL, nothing handles it."""


def save(folder: Path, content: bytes) -> None:
    write_files_atomically(
        folder, {name: lambda file: file.write(content) and None for name in ("a", "b", "c")}
    )


def killed_at(folder: Path, call: int, patch: pytest.MonkeyPatch) -> bool:
    """Saves NEW; the program ends before the `call`-th rename or removal. False: it had fewer."""
    left = [call]
    for name in ("replace", "unlink"):
        original = getattr(Path, name)

        def counted(
            path: Path, *args: object, original: object = original, **kwargs: object
        ) -> object:
            left[0] -= 1
            if left[0] <= 0:
                raise Killed
            return original(path, *args, **kwargs)  # type: ignore[operator]

        patch.setattr(Path, name, counted)
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
    call, seen = 1, []
    while True:
        folder = tmp_path / str(call)
        save(folder, OLD)
        if not killed_at(folder, call, monkeypatch):
            break
        recover_interrupted_write(folder)
        contents = {(folder / name).read_bytes() for name in ("a", "b", "c")}
        assert len(contents) == 1
        seen.append(contents.pop())
        save(folder, NEW)
        assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "c"]
        call += 1
    assert seen == sorted(seen, reverse=True) and set(seen) == {
        OLD,
        NEW,
    }  # old up to the journal, new from there on


def test_failed_write_keeps_exactly_the_old_files(tmp_path: Path) -> None:
    save(tmp_path, OLD)

    def full(_: object) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write_files_atomically(tmp_path, {"a": lambda file: file.write(NEW) and None, "b": full})
    recover_interrupted_write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a": OLD,
        "b": OLD,
        "c": OLD,
    }


@pytest.mark.parametrize(
    "journal", ["not json", "{}", json.dumps(["../a"]), json.dumps(["/etc/x"]), json.dumps([3])]
)
def test_manifest_naming_other_folders_is_refused(tmp_path: Path, journal: str) -> None:
    (tmp_path / MANIFEST_NAME).write_text(journal)
    with pytest.raises(UserError, match="no journal"):
        recover_interrupted_write(tmp_path)
