"""From a video file to a video file, through prepare.py, train.py and test.py as users run them."""

import io
import re
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.programs import run_program
from tests.videos import encode_test_video, make_moving_square, write_test_video
from util.io.video import probe_video, read_frames

N_FRAMES = 10  # of the input videos
N_HISTORY = 2  # frames before the first generated one
TRAINING_FLAGS = (
    "--input_nc 1 --no_first_img --resize_or_crop none --ngf 4 --n_downsample_G 1 --n_blocks 2 --ndf 4 "
    "--num_D 1 --n_layers_D 1 --n_scales_temporal 0 --n_frames_total 2 --niter 1 --niter_decay 0 --no_vgg "
    "--flow_net none --nThreads 0 --no_html"
)


@pytest.fixture(scope="module")
def synthesis_flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Train a network on the edges of a video for one step, and return the flags of test.py."""
    root = tmp_path_factory.mktemp("edges")
    video = write_test_video(root / "train on this.mp4", make_moving_square(24))
    prepare_flags = [str(video), "--out", str(root / "data"), "--mode", "edges"]
    assert run_program("scripts/prepare.py", prepare_flags) == 0
    run_flags = [
        "--name",
        "run",
        "--dataroot",
        str(root / "data"),
        "--checkpoints_dir",
        str(root),
        "--gpu_ids",
        "-1",
    ]
    assert run_program("train.py", [*run_flags, *TRAINING_FLAGS.split()]) == 0
    return [*run_flags, "--results_dir", str(root / "results")]


def synthesize(synthesis_flags: list[str], source: object, output: object, *flags: str) -> int:
    """Run test.py on a video and return its exit code."""
    paths = ["--input", str(source), "--output", str(output)]
    return run_program("test.py", [*synthesis_flags, *paths, *flags])


# name -> path, size (H, W), encoding
UNUSUAL_VIDEOS: dict[str, tuple[str, tuple[int, int], dict[str, object]]] = {
    "audio": ("v.mp4", (48, 64), {"has_audio": True}),
    "ten bits": ("v.mp4", (48, 64), {"pix_fmt": "yuv420p10le", "codec": "libx265"}),
    "rotated": ("v.mp4", (64, 48), {"rotation": 90}),
    "umlauts": ("größe & weiß/mein Vidéo äöü #1 100%.mp4", (48, 64), {}),
    "uneven size": ("v.mkv", (50, 66), {}),
}


@pytest.mark.parametrize("kind", UNUSUAL_VIDEOS)
def test_output_video_has_the_source_rate_size_and_audio(
    kind: str, synthesis_flags: list[str], tmp_path: Path
) -> None:
    name, size, encoding = UNUSUAL_VIDEOS[kind]
    source = tmp_path / name
    output = tmp_path / "new folder" / name.replace(".mkv", ".mp4")
    source.parent.mkdir(parents=True, exist_ok=True)
    encode_test_video(source, make_moving_square(N_FRAMES, size=size), **encoding)
    assert synthesize(synthesis_flags, source, output) == 0
    info = probe_video(output)
    assert info.size == probe_video(source).size
    assert (info.fps, info.has_audio) == (25, kind == "audio")
    assert len(list(read_frames(output))) == N_FRAMES - N_HISTORY


def test_audio_ends_with_the_video(synthesis_flags: list[str], tmp_path: Path) -> None:
    source = encode_test_video(tmp_path / "v.mp4", make_moving_square(50), has_audio=True)
    output = tmp_path / "o.mp4"
    assert (
        synthesize(synthesis_flags, source, output, "--start_frame", "10", "--how_many", "25") == 0
    )
    with av.open(str(output)) as container:
        audio_seconds, video_seconds = (
            float(stream.duration * stream.time_base)
            for stream in (container.streams.audio[0], container.streams.video[0])
        )
    assert video_seconds == 1
    assert abs(audio_seconds - 1) <= 2 * 1024 / 16000  # AAC frames have 1024 samples


def test_variable_frame_rate_is_written_as_its_mean(
    synthesis_flags: list[str], tmp_path: Path
) -> None:
    times = [0, 40, 200, 240, 280, 440, 480, 520, 680, 720]
    frames = make_moving_square(N_FRAMES)
    source = encode_test_video(tmp_path / "v.mkv", frames, timestamps_ms=times)
    output = tmp_path / "o.mp4"
    assert synthesize(synthesis_flags, source, output) == 0
    fps = probe_video(source).fps
    assert probe_video(output).fps == fps.limit_denominator(1001)
    n_frames = len(list(read_frames(output))) + N_HISTORY
    assert abs(n_frames / fps - Fraction(760, 1000)) <= 1 / fps


def test_truncated_video_is_processed_until_the_decode_error(
    synthesis_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8)
    video = write_test_video(tmp_path / "v.mp4", list(noise))
    half = tmp_path / "half.mp4"
    half.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    output = tmp_path / "o.mp4"
    assert synthesize(synthesis_flags, half, output) == 0
    match = re.search(r"half\.mp4 breaks off after (\d+) frames: ", capsys.readouterr().out)
    assert match
    n_readable = int(match[1])
    assert 8 < n_readable < 30
    assert len(list(read_frames(output))) == n_readable - N_HISTORY


@pytest.mark.parametrize(("n_frames", "message"), [(1, "1 frame"), (2, "2 frame")])
def test_a_video_that_is_too_short_is_refused_in_one_line(
    n_frames: int,
    message: str,
    synthesis_flags: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write_test_video(tmp_path / "short.mp4", make_moving_square(n_frames))
    assert synthesize(synthesis_flags, source, tmp_path / "o.mp4") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "short" in line and message in line
    assert not (tmp_path / "o.mp4").exists()


def test_pipe_is_processed_to_its_end(
    synthesis_flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = make_moving_square(N_FRAMES, size=(16, 32))
    rgb24 = b"".join(frame.tobytes() for frame in frames)
    stdout = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rgb24)))
    monkeypatch.setattr(sys, "stdout", stdout)
    assert synthesize(synthesis_flags, "-", "-", "--input_size", "32x16") == 0
    assert len(stdout.buffer.getvalue()) == (N_FRAMES - N_HISTORY) * 32 * 16 * 3


def test_side_by_side_has_condition_fake_and_real(
    synthesis_flags: list[str], tmp_path: Path
) -> None:
    frames = make_moving_square(N_FRAMES)
    source = write_test_video(tmp_path / "v.mp4", frames)
    assert synthesize(synthesis_flags, source, tmp_path / "o.mp4", "--side_by_side") == 0
    outputs = list(read_frames(tmp_path / "o.mp4"))
    assert outputs[0].shape == (48, 3 * 64, 3)
    for output, real in zip(outputs, frames[N_HISTORY:], strict=True):
        assert np.abs(output[:, 128:].astype(int) - real).mean() < 8


def test_looped_input_continues_to_how_many(synthesis_flags: list[str], tmp_path: Path) -> None:
    source = write_test_video(tmp_path / "v.mp4", make_moving_square(N_FRAMES))
    assert (
        synthesize(synthesis_flags, source, tmp_path / "o.mp4", "--loop_input", "--how_many", "25")
        == 0
    )
    assert len(list(read_frames(tmp_path / "o.mp4"))) == 25


def test_a_live_video_reports_its_speed(
    synthesis_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flag_values = dict(zip(synthesis_flags[::2], synthesis_flags[1::2], strict=True))
    source = write_test_video(tmp_path / "v.mp4", make_moving_square(40))
    live_flags = ["--run", f"{flag_values['--checkpoints_dir']}/run", "--gpu_ids", "-1"]
    live_flags += ["--dataroot", flag_values["--dataroot"]]
    source_flags = ["--source", str(source), "--port", "0", "--frames", "30"]
    assert run_program("scripts/live/run.py", [*live_flags, *source_flags]) == 0
    address, *lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"open http://127\.0\.0\.1:\d+/ \(Ctrl-C ends\)", address)
    assert len(lines) == 2  # 25 frames, and 5
    assert all(
        re.fullmatch(r"[\d.]+ frames a second, latency \d+ ms \(largest \d+ ms\)", line)
        for line in lines
    )
    missing_source = ["--source", str(tmp_path / "no.mp4")]
    assert run_program("scripts/live/run.py", [*live_flags, *missing_source]) == 1
    assert "neither a camera that opens nor a video" in capsys.readouterr().err


def test_videos_are_prepared_in_parallel_and_a_broken_one_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readable = [
        write_test_video(tmp_path / f"{name}.mp4", make_moving_square(12)) for name in ("a", "b")
    ]
    (tmp_path / "broken.mp4").write_text("no video")
    flags = [
        *map(str, [readable[0], tmp_path / "broken.mp4", readable[1]]),
        "--out",
        str(tmp_path / "data"),
        "--mode",
        "edges",
    ]
    assert run_program("scripts/prepare.py", [*flags, "--workers", "2"]) == 0
    stdout = capsys.readouterr().out
    assert "broken.mp4: not a video" in stdout and "python train.py --name data" in stdout
    assert sorted(path.name for path in (tmp_path / "data/train_A").iterdir()) == ["a_001", "b_001"]
