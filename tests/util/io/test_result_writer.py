"""Tests of the output video: rate, size, audio and streams."""

from fractions import Fraction

import av
import numpy as np
import pytest

from util.io.result_writer import OutputVideo
from util.io.video import AudioTrack, VideoWriter, probe_video, read_frames

GRAY = np.full((16, 24, 3), 90, np.uint8)
WHITE = np.full((16, 24, 3), 250, np.uint8)


def write_video_with_tone(path, seconds):
    """Write a video with a tone whose amplitude grows every second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        audio = container.add_stream("aac", rate=16000, layout="mono")
        video.width, video.height, video.pix_fmt = 24, 16, "yuv420p"
        for _ in range(25 * seconds):
            container.mux(video.encode(av.VideoFrame.from_ndarray(GRAY, format="rgb24")))
        container.mux(video.encode())
        time = np.arange(16000 * seconds) / 16000
        tone = (np.sin(2 * np.pi * 440 * time) * (1 + time.astype(int)) * 5000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def measure_audio(path):
    """Return the RMS amplitude of the first second, and the length in seconds."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    samples = np.concatenate(frames)
    rms = np.sqrt((samples[2000:14000].astype(float) ** 2).mean())
    return rms, len(samples) / 16000


def test_output_has_the_source_rate_size_and_audio_offset(tmp_path):
    source = write_video_with_tone(tmp_path / "in.mp4", 3)
    with OutputVideo(
        str(tmp_path / "out.mp4"), Fraction(25), (48, 32), AudioTrack(source, 1.0)
    ) as output:
        for _ in range(25):
            output.write({"real_A": GRAY, "fake_B": WHITE})
    info = probe_video(tmp_path / "out.mp4")
    assert (info.size, info.fps, info.n_frames, info.has_audio) == ((48, 32), 25, 25, True)
    source_rms, source_seconds = measure_audio(source)
    copied_rms, copied_seconds = measure_audio(tmp_path / "out.mp4")
    # the copy starts at the second second, whose amplitude is twice that of the first
    assert copied_rms / source_rms == pytest.approx(2, rel=0.1)
    assert source_seconds > 2.9 and copied_seconds == pytest.approx(1, abs=0.15)


def test_side_by_side_contains_all_streams(tmp_path):
    with OutputVideo(str(tmp_path / "out.mp4"), Fraction(25), is_side_by_side=True) as output:
        output.write({"real_A": GRAY, "fake_B": WHITE})
    (frame,) = read_frames(tmp_path / "out.mp4")
    assert frame.shape == (16, 48, 3)
    assert abs(frame[:, :20].mean() - 90) < 4
    assert abs(frame[:, 28:].mean() - 250) < 4


def test_raw_frames_are_written_to_stdout(capfdbinary):
    with OutputVideo("-", Fraction(25)) as output:
        output.write({"real_A": GRAY, "fake_B": WHITE})
    assert capfdbinary.readouterr().out == WHITE.tobytes()


def test_without_output_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with OutputVideo(None, Fraction(25)) as output:
        output.write({"fake_B": WHITE})
    assert not list(tmp_path.iterdir())


def test_source_without_audio_is_written_without_audio(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", 25, (24, 16)) as video:
        video.write(GRAY)
    assert not probe_video(tmp_path / "v.mp4").has_audio
