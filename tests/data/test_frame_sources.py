import numpy as np
import pytest

from data.frame_sources import find_frame_sources, iter_real_fake_pairs, match_real_fake
from util.errors import UserError
from util.images.visualization import save_image
from util.io.video import VideoWriter


def grey(level, size=(16, 24)):
    return np.full((*size, 3), level, np.uint8)


def folder(path, levels, prefix="", first=0):
    for number, level in enumerate(levels, start=first):
        save_image(path / f"{prefix}f{number}.png", grey(level))
    return path


def only(real, fake, skip=0):
    ((theirs, ours),) = match_real_fake(
        find_frame_sources(real, "real_B"), find_frame_sources(fake, "fake_B")
    )
    return [(int(a[0, 0, 0]), int(b[0, 0, 0])) for a, b in iter_real_fake_pairs(theirs, ours, skip)]


def test_frames_are_paired_by_name_for_any_start_frame(tmp_path):
    real = folder(tmp_path / "test_B/s", range(0, 50, 10))
    results = folder(
        folder(tmp_path / "results/s", [21, 31, 41], "fake_B_", first=2),
        [0] * 3,
        "real_A_",
        first=2,
    )
    assert only(real.parent, results.parent) == [(20, 21), (30, 31), (40, 41)]


def test_one_results_folder_contains_real_and_fake(tmp_path):
    both = folder(folder(tmp_path / "s", [1, 2], "fake_B_"), [5, 6], "real_B_")
    assert only(both, both) == [(5, 1), (6, 2)]


def test_video_frames_are_paired_in_order(tmp_path):
    for name, levels in (("real", (0, 0, 80, 160)), ("fake", (80, 160))):
        with VideoWriter(tmp_path / f"{name}.mp4", 25, (24, 16)) as video:
            for level in levels:
                video.write(grey(level))
    found = only(tmp_path / "real.mp4", tmp_path / "fake.mp4", skip=2)
    np.testing.assert_allclose(found, [(80, 80), (160, 160)], atol=3)
    with pytest.raises(UserError, match=r"goes on after.*--skip"):
        only(tmp_path / "real.mp4", tmp_path / "fake.mp4")
    with pytest.raises(UserError, match="frame 1 has no real one"):
        only(tmp_path / "real.mp4", tmp_path / "fake.mp4", skip=3)


def test_real_images_are_resized_to_the_generated_size(tmp_path):
    save_image(tmp_path / "real/f0.png", grey(9, (32, 48)))
    ((real, fake),) = match_real_fake(
        find_frame_sources(tmp_path / "real"), find_frame_sources(folder(tmp_path / "fake", [9]))
    )
    ((shown, made),) = iter_real_fake_pairs(real, fake)
    assert shown.shape == made.shape == (16, 24, 3) and (shown == 9).all()


def test_sequences_are_matched_by_name_and_an_unmatched_one_is_refused(tmp_path):
    for name in ("a", "b"):
        folder(tmp_path / "real" / name, [ord(name)])
        folder(tmp_path / "fake" / name, [ord(name)])
    matched = match_real_fake(
        find_frame_sources(tmp_path / "real"), find_frame_sources(tmp_path / "fake")
    )
    assert [(real.name, fake.name) for real, fake in matched] == [("a", "a"), ("b", "b")]
    folder(tmp_path / "fake/c", [0])
    with pytest.raises(UserError, match=r"no real sequence is called c; there are a, b"):
        match_real_fake(
            find_frame_sources(tmp_path / "real"), find_frame_sources(tmp_path / "fake")
        )


def test_foreign_files_in_the_results_folder_are_ignored(tmp_path):
    """An --input's conditions, an evaluation's page; and frame 10 comes after frame 9."""
    results = folder(tmp_path / "results/s", range(12), "fake_B_").parent
    folder(results / "input/s/test_B", [3, 4])
    (results / "s/evaluation").mkdir()
    (results / "s/evaluation/index.html").write_text("")
    (found,) = find_frame_sources(results, "fake_B")
    assert (found.name, [int(frame[0, 0, 0]) for frame in found.iter_frames()]) == (
        "s",
        list(range(12)),
    )
