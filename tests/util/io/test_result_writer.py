from fractions import Fraction

import av
import numpy as np
import pytest

from util.io.result_writer import OutputVideo
from util.io.video import AudioTrack, VideoWriter, probe_video, read_frames

GREY, WHITE = np.full((16, 24, 3), 90, np.uint8), np.full((16, 24, 3), 250, np.uint8)


def beeps(path, seconds):
    """A video of `seconds` with a tone that gets louder every second."""
    with av.open(str(path), "w") as container:
        image = container.add_stream("libx264", rate=25)
        sound = container.add_stream("aac", rate=16000, layout="mono")
        image.width, image.height, image.pix_fmt = 24, 16, "yuv420p"
        for _ in range(25 * seconds):
            container.mux(image.encode(av.VideoFrame.from_ndarray(GREY, format="rgb24")))
        container.mux(image.encode())
        time = np.arange(16000 * seconds) / 16000
        tone = (np.sin(2 * np.pi * 440 * time) * (1 + time.astype(int)) * 5000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def loudness(path):
    with av.open(str(path)) as container:
        heard = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    return np.sqrt((heard[2000:14000].astype(float) ** 2).mean()), len(heard) / 16000


def test_output_has_the_source_rate_size_and_audio_offset(tmp_path):
    source = beeps(tmp_path / "in.mp4", 3)
    with OutputVideo(
        str(tmp_path / "out.mp4"), Fraction(25), (48, 32), AudioTrack(source, 1.0)
    ) as output:
        for _ in range(25):
            output.write({"real_A": GREY, "fake_B": WHITE})
    about = probe_video(tmp_path / "out.mp4")
    assert (about.size, about.fps, about.n_frames, about.has_audio) == ((48, 32), 25, 25, True)
    (first, whole), (second, copied) = loudness(source), loudness(tmp_path / "out.mp4")
    assert (
        second / first == pytest.approx(2, rel=0.1)
        and whole > 2.9
        and copied == pytest.approx(1, abs=0.15)
    )


def test_side_by_side_contains_all_streams(tmp_path):
    with OutputVideo(str(tmp_path / "out.mp4"), Fraction(25), is_side_by_side=True) as output:
        output.write({"real_A": GREY, "fake_B": WHITE})
    (frame,) = read_frames(tmp_path / "out.mp4")
    assert (
        frame.shape == (16, 48, 3)
        and abs(frame[:, :20].mean() - 90) < 4
        and abs(frame[:, 28:].mean() - 250) < 4
    )


def test_raw_frames_are_written_to_stdout(capfdbinary):
    with OutputVideo("-", Fraction(25)) as output:
        output.write({"real_A": GREY, "fake_B": WHITE})
    assert capfdbinary.readouterr().out == WHITE.tobytes()


def test_without_output_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with OutputVideo(None, Fraction(25)) as output:
        output.write({"fake_B": WHITE})
    assert not list(tmp_path.iterdir())


def test_source_without_audio_is_written_without_audio(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", 25, (24, 16)) as video:
        video.write(GREY)
    assert not probe_video(tmp_path / "v.mp4").has_audio
