"""Tests of finding sequences: which files count, in which order, and what is refused."""

from pathlib import Path

import pytest

from data.frame_reader import FolderSpec
from data.sequences import FrameSequence, find_sequences
from util.errors import UserError

SPECS = {"condition": FolderSpec("A"), "image": FolderSpec("B")}


def touch(root: Path, *names: str) -> None:
    """Create empty files and their folders."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def find_error(root: Path) -> str:
    """Return the message of the UserError that finding sequences raises."""
    with pytest.raises(UserError) as error:
        find_sequences(root, "train", SPECS)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_folders_and_frames_are_paired_by_order(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train_A/s1/a.png",
        "train_A/s1/b.PNG",
        "train_A/s2/c.jpeg",
        "train_B/x/1.jpg",
        "train_B/x/2.Jpg",
        "train_B/y/9.tiff",
        "test_A/other/1.png",
    )
    first, second = find_sequences(tmp_path, "train", SPECS)
    assert (first.name, len(first), second.name, len(second)) == ("s1", 2, "s2", 1)
    assert first.paths(1) == {
        "condition": tmp_path / "train_A/s1/b.PNG",
        "image": tmp_path / "train_B/x/2.Jpg",
    }
    assert (first.frame_name(1), second.frame_name(0)) == ("s1/b", "s2/c")


def test_numbers_sort_as_numbers(tmp_path: Path) -> None:
    frames = [f"train_A/s{s}/frame_{i}.png" for s in (1, 2, 10) for i in (8, 9, 10, 11)]
    touch(tmp_path, *reversed(frames))
    sequences = find_sequences(tmp_path, "train", {"condition": FolderSpec("A")})
    paths = [path for sequence in sequences for path in sequence.files["condition"]]
    assert [str(path.relative_to(tmp_path)) for path in paths] == frames


def test_zero_padded_names_sort_as_text(tmp_path: Path) -> None:
    names = [
        f"train_A/s/aachen_{i:06}_{j:03}_leftImg8bit.png" for i in (0, 19, 100) for j in (1, 20)
    ]
    touch(tmp_path, *names)
    (sequence,) = find_sequences(tmp_path, "train", {"condition": FolderSpec("A")})
    assert [f.name for f in sequence.files["condition"]] == sorted(Path(n).name for n in names)


def test_hidden_and_foreign_files_are_ignored(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train_A/.DS_Store",
        "train_A/.cache/1.png",
        "train_A/s/1.png",
        "train_A/s/._1.png",
        "train_A/s/notes.txt",
        "train_A/s/Thumbs.db",
        "train_B/s/1.png",
    )
    (sequence,) = find_sequences(tmp_path, "train", SPECS)
    assert len(sequence) == 1


def test_suffixes_are_set_per_folder(tmp_path: Path) -> None:
    touch(tmp_path, "train_K/s/1.txt", "train_K/s/1.png")
    (sequence,) = find_sequences(tmp_path, "train", {"points": FolderSpec("K", (".txt",))})
    assert sequence.frame_name(0) == "s/1"
    assert len(sequence) == 1


def test_frames_may_be_at_any_folder_depth(tmp_path: Path) -> None:
    touch(tmp_path, "train_A/1.png", "train_B/town/day/1.png")
    (flat,) = find_sequences(tmp_path, "train", SPECS)
    (deep,) = find_sequences(tmp_path, "train", {"image": FolderSpec("B")})
    assert (flat.name, deep.name) == ("train_A", "town/day")


def test_sequences_compare_by_value() -> None:
    files = {"condition": (Path("a.png"),)}
    assert FrameSequence("s", files) == FrameSequence("s", dict(files))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train_A/s/1.png")
    assert f"{tmp_path / 'train_B'}: No such file" in find_error(tmp_path)


def test_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train_A/s/1.png", "train_B")
    assert f"{tmp_path / 'train_B'}: Not a directory" in find_error(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train_A").mkdir()
    assert f"{tmp_path / 'train_A'}: holds 0 files" in find_error(tmp_path)


def test_a_sequence_without_frames_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train_A/s1/1.png", "train_A/s2/clip.mp4")
    assert f"{tmp_path / 'train_A/s2'}: holds 1 files, none of them a frame" in find_error(tmp_path)


def test_mixing_frames_and_folders_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train_A/s1/1.png", "train_A/stray.png")
    assert "holds frames (stray.png) and folders (s1)" in find_error(tmp_path)


def test_unequal_sequence_counts_name_both_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train_A/s1/1.png", "train_A/s2/1.png", "train_B/s1/1.png")
    assert (
        f"{tmp_path / 'train_A'} holds 2 sequence folders, {tmp_path / 'train_B'} holds 1"
        in find_error(tmp_path)
    )


def test_unequal_frame_counts_name_both_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train_A/s1/1.png", "train_A/s1/2.png", "train_B/s1/1.png")
    assert (
        f"{tmp_path / 'train_A/s1'} holds 2 frames, {tmp_path / 'train_B/s1'} holds 1"
        in find_error(tmp_path)
    )


def test_a_broken_link_is_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "train_A/s/1.png", "train_B/s/1.png")
    (tmp_path / "train_A/s/2.png").symlink_to(tmp_path / "missing.png")
    assert f"{tmp_path / 'train_A/s/2.png'}: is not a file (a broken link?)" in find_error(tmp_path)
