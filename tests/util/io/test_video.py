"""Tests of VideoWriter and read_frames of util/io/video.py."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio as psnr

from util.errors import UserError
from util.io.video import VideoWriter, read_frames


def moving_gradient(width, height, n_frames):
    """Smooth, saturated frames, where a wrong color matrix costs far more than the compression."""
    x, y = np.meshgrid(np.linspace(0, 179, width), np.linspace(100, 255, height))
    frames = []
    for t in range(n_frames):
        hsv = np.dstack([(x + 4 * t) % 180, y, np.full_like(x, 220)]).astype(np.uint8)
        frames.append(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    return frames


def write_video(path, frames, fps):
    height, width = frames[0].shape[:2]
    with VideoWriter(path, fps, (width, height)) as video:
        for frame in frames:
            video.write(frame)


@pytest.mark.parametrize(
    ("fps", "exact_fps"), [(25, 25), (12.5, Fraction(25, 2)), (30000 / 1001, Fraction(30000, 1001))]
)
def test_frame_count_and_rate_round_trip(tmp_path, fps, exact_fps):
    path, frames = tmp_path / "v.mp4", moving_gradient(96, 64, 9)
    write_video(path, frames, fps)
    decoded = list(read_frames(path))
    assert len(decoded) == 9 and decoded[0].shape == (64, 96, 3) and decoded[0].dtype == np.uint8
    assert min(psnr(a, b) for a, b in zip(frames, decoded, strict=True)) > 30
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == exact_fps
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")


def test_odd_sizes_are_padded_by_replication(tmp_path):
    path, frames = tmp_path / "v.mp4", moving_gradient(67, 45, 3)
    write_video(path, frames, 25)
    decoded = next(read_frames(path))
    assert decoded.shape == (46, 68, 3)
    assert psnr(frames[0], decoded[:45, :67]) > 30
    assert psnr(frames[0][-1], decoded[45, :67]) > 25


def test_failed_write_leaves_no_partial_video(tmp_path):
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / "v.mp4", 25, (32, 32)) as video:
        video.write(np.zeros((32, 32, 3), np.uint8))
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_video_replaces_the_old_one_when_closed(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"old")
    with VideoWriter(path, 25, (32, 32)) as video:
        video.write(np.zeros((32, 32, 3), np.uint8))
        assert path.read_bytes() == b"old"
    assert len(list(read_frames(path))) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_frame_of_another_size_is_an_error(tmp_path):
    with pytest.raises(AssertionError), VideoWriter(tmp_path / "v.mp4", 25, (32, 32)) as video:
        video.write(np.zeros((32, 30, 3), np.uint8))


def test_file_that_is_no_video_is_refused_by_name(tmp_path):
    (tmp_path / "page.mp4").write_text("<html>")
    for name in ("page.mp4", "absent.mp4"):
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            next(read_frames(tmp_path / name))
