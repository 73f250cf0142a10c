"""Tests of finding image sequences and pairing real with generated frames."""

import numpy as np
import pytest

from data.frame_sources import find_frame_sources, iter_real_fake_pairs, match_real_fake
from util.errors import UserError
from util.images.visualization import save_image
from util.io.video import VideoWriter


def gray_image(value, size=(16, 24)):
    return np.full((*size, 3), value, np.uint8)


def write_images(path, values, prefix="", first=0):
    """Write gray images with consecutive numbers; return their folder."""
    for number, value in enumerate(values, start=first):
        save_image(path / f"{prefix}f{number}.png", gray_image(value))
    return path


def read_pairs(real_path, fake_path, skip=0):
    """Return the gray values of all (real, fake) frames of the only pair of sequences."""
    ((real, fake),) = match_real_fake(
        find_frame_sources(real_path, "real_B"), find_frame_sources(fake_path, "fake_B")
    )
    return [(int(a[0, 0, 0]), int(b[0, 0, 0])) for a, b in iter_real_fake_pairs(real, fake, skip)]


def test_frames_are_paired_by_name_for_any_start_frame(tmp_path):
    real = write_images(tmp_path / "test_B/s", range(0, 50, 10))
    results = write_images(tmp_path / "results/s", [21, 31, 41], "fake_B_", first=2)
    write_images(results, [0] * 3, "real_A_", first=2)
    assert read_pairs(real.parent, results.parent) == [(20, 21), (30, 31), (40, 41)]


def test_one_results_folder_contains_real_and_fake(tmp_path):
    results = write_images(tmp_path / "s", [1, 2], "fake_B_")
    write_images(results, [5, 6], "real_B_")
    assert read_pairs(results, results) == [(5, 1), (6, 2)]


def test_video_frames_are_paired_in_order(tmp_path):
    for name, values in (("real", (0, 0, 80, 160)), ("fake", (80, 160))):
        with VideoWriter(tmp_path / f"{name}.mp4", 25, (24, 16)) as video:
            for value in values:
                video.write(gray_image(value))
    pairs = read_pairs(tmp_path / "real.mp4", tmp_path / "fake.mp4", skip=2)
    np.testing.assert_allclose(pairs, [(80, 80), (160, 160)], atol=3)
    with pytest.raises(UserError, match=r"goes on after.*--skip"):
        read_pairs(tmp_path / "real.mp4", tmp_path / "fake.mp4")
    with pytest.raises(UserError, match="frame 1 has no real one"):
        read_pairs(tmp_path / "real.mp4", tmp_path / "fake.mp4", skip=3)


def test_real_images_are_resized_to_the_generated_size(tmp_path):
    save_image(tmp_path / "real/f0.png", gray_image(9, (32, 48)))
    ((real, fake),) = match_real_fake(
        find_frame_sources(tmp_path / "real"),
        find_frame_sources(write_images(tmp_path / "fake", [9])),
    )
    ((real_image, fake_image),) = iter_real_fake_pairs(real, fake)
    assert real_image.shape == fake_image.shape == (16, 24, 3) and (real_image == 9).all()


def test_sequences_are_matched_by_name_and_an_unmatched_one_is_refused(tmp_path):
    for name in ("a", "b"):
        write_images(tmp_path / "real" / name, [ord(name)])
        write_images(tmp_path / "fake" / name, [ord(name)])
    matched = match_real_fake(
        find_frame_sources(tmp_path / "real"), find_frame_sources(tmp_path / "fake")
    )
    assert [(real.name, fake.name) for real, fake in matched] == [("a", "a"), ("b", "b")]
    write_images(tmp_path / "fake/c", [0])
    with pytest.raises(UserError, match=r"no real sequence is called c; there are a, b"):
        match_real_fake(
            find_frame_sources(tmp_path / "real"), find_frame_sources(tmp_path / "fake")
        )


def test_foreign_files_in_the_results_folder_are_ignored(tmp_path):
    """Conditions of an --input and pages of an evaluation are ignored; frame 10 follows frame 9."""
    results = write_images(tmp_path / "results/s", range(12), "fake_B_").parent
    write_images(results / "input/s/test_B", [3, 4])
    (results / "s/evaluation").mkdir()
    (results / "s/evaluation/index.html").write_text("")
    (source,) = find_frame_sources(results, "fake_B")
    assert source.name == "s"
    assert [int(frame[0, 0, 0]) for frame in source.iter_frames()] == list(range(12))
