from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio as psnr

from util.errors import UserError
from util.io.video import VideoWriter, read_frames


def moving_gradient(width, height, count):
    """Smooth and saturated: a wrong colour matrix costs far more than the compression."""
    x, y = np.meshgrid(np.linspace(0, 179, width), np.linspace(100, 255, height))
    hsv = np.stack(
        [np.dstack([(x + 4 * t) % 180, y, np.full_like(x, 220)]) for t in range(count)]
    ).astype(np.uint8)
    return [cv2.cvtColor(frame, cv2.COLOR_HSV2RGB) for frame in hsv]


def write(path, frames, fps):
    height, width = frames[0].shape[:2]
    with VideoWriter(path, fps, (width, height)) as video:
        for frame in frames:
            video.write(frame)


@pytest.mark.parametrize(
    ("fps", "exact"), [(25, 25), (12.5, Fraction(25, 2)), (30000 / 1001, Fraction(30000, 1001))]
)
def test_frame_count_and_rate_round_trip(tmp_path, fps, exact):
    frames = moving_gradient(96, 64, 9)
    write(tmp_path / "v.mp4", frames, fps)
    back = list(read_frames(tmp_path / "v.mp4"))
    assert len(back) == 9 and back[0].shape == (64, 96, 3) and back[0].dtype == np.uint8
    assert min(psnr(a, b) for a, b in zip(frames, back, strict=True)) > 30
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == exact
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")


def test_odd_sizes_are_padded_by_replication(tmp_path):
    frames = moving_gradient(67, 45, 3)
    write(tmp_path / "v.mp4", frames, 25)
    back = next(read_frames(tmp_path / "v.mp4"))
    assert back.shape == (46, 68, 3)
    assert psnr(frames[0], back[:45, :67]) > 30
    assert psnr(frames[0][-1], back[45, :67]) > 25


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
    with pytest.raises(UserError, match=r"page\.mp4"):
        next(read_frames(tmp_path / "page.mp4"))
    with pytest.raises(UserError, match=r"absent\.mp4"):
        next(read_frames(tmp_path / "absent.mp4"))
