"""From somebody's video to a video, through prepare.py, train.py and test.py as people call them."""

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

FRAMES, GIVEN = 10, 2  # of the videos; before the first generated frame
TRAINING = (
    "--input_nc 1 --no_first_img --resize_or_crop none --ngf 4 --n_downsample_G 1 --n_blocks 2 --ndf 4 "
    "--num_D 1 --n_layers_D 1 --n_scales_temporal 0 --n_frames_total 2 --niter 1 --niter_decay 0 --no_vgg "
    "--flow_net none --nThreads 0 --no_html"
)


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """test.py's flags for a network that has learned next to nothing from a video's edges."""
    root = tmp_path_factory.mktemp("edges")
    video = write_test_video(root / "learn from this.mp4", make_moving_square(24))
    assert (
        run_program(
            "scripts/prepare.py", [str(video), "--to", str(root / "data"), "--mode", "edges"]
        )
        == 0
    )
    where = [
        "--name",
        "run",
        "--dataroot",
        str(root / "data"),
        "--checkpoints_dir",
        str(root),
        "--gpu_ids",
        "-1",
    ]
    assert run_program("train.py", [*where, *TRAINING.split()]) == 0
    return [*where, "--results_dir", str(root / "results")]


def sized(size: tuple[int, int], **how: object) -> tuple[list[np.ndarray], dict[str, object]]:
    return make_moving_square(FRAMES, size=size), how


ODD = {
    "sound": ("v.mp4", *sized((48, 64), has_audio=True)),
    "ten bits": ("v.mp4", *sized((48, 64), pix_fmt="yuv420p10le", codec="libx265")),
    "turned": ("v.mp4", *sized((64, 48), rotation=90)),
    "umlauts": ("größe & weiß/mein Vidéo äöü #1 100%.mp4", *sized((48, 64))),
    "odd size": ("v.mkv", *sized((50, 66))),
}


@pytest.mark.parametrize("kind", ODD)
def test_output_video_has_the_source_rate_size_and_audio(
    kind: str, painter: list[str], tmp_path: Path
) -> None:
    name, frames, how = ODD[kind]
    source, made = tmp_path / name, tmp_path / "made here" / name.replace(".mkv", ".mp4")
    source.parent.mkdir(parents=True, exist_ok=True)
    encode_test_video(source, frames, **how)
    assert run_program("test.py", [*painter, "--input", str(source), "--output", str(made)]) == 0
    given, found = probe_video(source), probe_video(made)
    assert (found.size, found.fps, found.has_audio) == (given.size, 25, kind == "sound")
    assert len(list(read_frames(made))) == FRAMES - GIVEN


def test_audio_ends_with_the_video(painter: list[str], tmp_path: Path) -> None:
    source = encode_test_video(tmp_path / "v.mp4", make_moving_square(50), has_audio=True)
    assert (
        run_program(
            "test.py",
            [
                *painter,
                "--input",
                str(source),
                "--output",
                str(tmp_path / "o.mp4"),
                "--start_frame",
                "10",
                "--how_many",
                "25",
            ],
        )
        == 0
    )
    with av.open(str(tmp_path / "o.mp4")) as container:
        sound, images = container.streams.audio[0], container.streams.video[0]
        seconds = [float(stream.duration * stream.time_base) for stream in (sound, images)]
    assert (
        seconds[1] == 1 and abs(seconds[0] - 1) <= 2 * 1024 / 16000
    )  # AAC knows frames of 1024 samples


def test_variable_frame_rate_is_written_as_its_mean(painter: list[str], tmp_path: Path) -> None:
    times = [0, 40, 200, 240, 280, 440, 480, 520, 680, 720]
    source = encode_test_video(tmp_path / "v.mkv", make_moving_square(FRAMES), timestamps_ms=times)
    assert (
        run_program(
            "test.py", [*painter, "--input", str(source), "--output", str(tmp_path / "o.mp4")]
        )
        == 0
    )
    made, rate = len(list(read_frames(tmp_path / "o.mp4"))), probe_video(source).fps
    assert probe_video(tmp_path / "o.mp4").fps == rate.limit_denominator(1001)
    assert abs((made + GIVEN) / rate - Fraction(760, 1000)) <= 1 / rate


def test_truncated_video_is_processed_until_the_decode_error(
    painter: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8)
    whole = write_test_video(tmp_path / "v.mp4", list(noise))
    half = tmp_path / "half.mp4"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert (
        run_program(
            "test.py", [*painter, "--input", str(half), "--output", str(tmp_path / "o.mp4")]
        )
        == 0
    )
    found = re.search(r"half\.mp4 breaks off after (\d+) frames: ", capsys.readouterr().out)
    assert (
        found
        and 8 < int(found[1]) < 30
        and len(list(read_frames(tmp_path / "o.mp4"))) == int(found[1]) - GIVEN
    )


@pytest.mark.parametrize(("frames", "found"), [(1, "1 frame"), (2, "2 frame")])
def test_a_video_that_is_too_short_is_refused_in_one_line(
    frames: int, found: str, painter: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_test_video(tmp_path / "short.mp4", make_moving_square(frames))
    assert (
        run_program(
            "test.py", [*painter, "--input", str(source), "--output", str(tmp_path / "o.mp4")]
        )
        == 1
    )
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "short" in line and found in line
    assert not (tmp_path / "o.mp4").exists()


def test_pipe_is_processed_to_its_end(painter: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    frames = make_moving_square(FRAMES, size=(16, 32))
    made = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(b"".join(frame.tobytes() for frame in frames)))
    )
    monkeypatch.setattr(sys, "stdout", made)
    assert (
        run_program("test.py", [*painter, "--input", "-", "--input_size", "32x16", "--output", "-"])
        == 0
    )
    assert len(made.buffer.getvalue()) == (FRAMES - GIVEN) * 32 * 16 * 3


def test_side_by_side_has_condition_fake_and_real(painter: list[str], tmp_path: Path) -> None:
    frames = make_moving_square(FRAMES)
    source = write_test_video(tmp_path / "v.mp4", frames)
    flags = ["--input", str(source), "--output", str(tmp_path / "o.mp4"), "--side_by_side"]
    assert run_program("test.py", [*painter, *flags]) == 0
    shown = list(read_frames(tmp_path / "o.mp4"))
    assert shown[0].shape == (48, 3 * 64, 3)
    for made, real in zip(shown, frames[GIVEN:], strict=True):
        assert np.abs(made[:, 128:].astype(int) - real).mean() < 8


def test_looped_input_continues_to_how_many(painter: list[str], tmp_path: Path) -> None:
    source = write_test_video(tmp_path / "v.mp4", make_moving_square(FRAMES))
    assert (
        run_program(
            "test.py",
            [
                *painter,
                "--input",
                str(source),
                "--output",
                str(tmp_path / "o.mp4"),
                "--loop",
                "--how_many",
                "25",
            ],
        )
        == 0
    )
    assert len(list(read_frames(tmp_path / "o.mp4"))) == 25


def test_a_live_video_reports_its_speed(
    painter: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = dict(zip(painter[::2], painter[1::2], strict=True))
    source = write_test_video(tmp_path / "v.mp4", make_moving_square(40))
    live = [
        "--run",
        f"{where['--checkpoints_dir']}/run",
        "--dataroot",
        where["--dataroot"],
        "--source",
        str(source),
    ]
    assert (
        run_program(
            "scripts/live/run.py", [*live, "--port", "0", "--gpu_ids", "-1", "--frames", "30"]
        )
        == 0
    )
    address, *lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"open http://127\.0\.0\.1:\d+/ \(Ctrl-C ends\)", address)
    assert len(lines) == 2  # 25 frames, and 5
    assert all(
        re.fullmatch(r"[\d.]+ frames a second, latency \d+ ms \(largest \d+ ms\)", line)
        for line in lines
    )
    assert (
        run_program(
            "scripts/live/run.py", [*live, "--source", str(tmp_path / "no.mp4"), "--gpu_ids", "-1"]
        )
        == 1
    )
    assert "neither a camera that opens nor a video" in capsys.readouterr().err


def test_videos_are_prepared_in_parallel_and_a_broken_one_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [
        write_test_video(tmp_path / f"{name}.mp4", make_moving_square(12)) for name in ("a", "b")
    ]
    (tmp_path / "broken.mp4").write_text("no video")
    flags = [
        *map(str, [good[0], tmp_path / "broken.mp4", good[1]]),
        "--to",
        str(tmp_path / "data"),
        "--mode",
        "edges",
    ]
    assert run_program("scripts/prepare.py", [*flags, "--workers", "2"]) == 0
    said = capsys.readouterr().out
    assert "broken.mp4: not a video" in said and "python train.py --name data" in said
    assert sorted(path.name for path in (tmp_path / "data/train_A").iterdir()) == ["a_001", "b_001"]
