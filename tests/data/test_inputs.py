import io
import sys
from itertools import islice

import numpy as np
import pytest
import torch

from data.geometry import GeometryConfig
from data.inputs import InputConfig, Readers, at_once, open_input
from data.live import live_clips, raw_frames
from data.pose import Pose
from data.prepare.dataset import Preparation
from data.prepare.makers import Edges
from data.prepare.recipe import Recipe
from data.street import Street
from util.errors import UserError
from util.pictures import save_picture
from util.video import VideoWriter

AS_IT_IS = GeometryConfig(512, 512, "none", flip=False)
STREET = Street(0, 1, False)
FRAMES = [np.random.default_rng(t).integers(0, 256, (24, 32, 3), dtype=np.uint8) for t in range(6)]


@pytest.fixture
def dataset(tmp_path):
    Recipe("edges", Edges(), Preparation()).save(tmp_path)
    for number, frame in enumerate(FRAMES):
        save_picture(tmp_path / f"ride/{number:03}.png", frame)
    with VideoWriter(tmp_path / "ride.mp4", 12, (32, 24)) as video:
        for frame in FRAMES:
            video.write(frame)
    return tmp_path


def opened(root, **config):
    return open_input(InputConfig(root, "test", **config), STREET, AS_IT_IS, 2, root / "work")


def test_a_video_and_a_folder_of_its_frames_become_sequences_with_rate_and_size(dataset):
    video = opened(dataset, video=str(dataset / "ride.mp4"), picture=True)
    ((name, reader, length),) = video.sequences
    assert (name, length, float(video.rate), video.size, video.sound) == ("ride", 6, 12, (32, 24), None)
    assert next(iter(reader)).condition.shape == (1, 1, 1, 24, 32)
    ((_, reader, length),) = opened(dataset, video=str(dataset / "ride"), picture=True, start=1, count=2).sequences
    clips = list(reader)
    assert length == len(clips) == 4 and clips[0].names == (("ride/000002",),)
    assert torch.equal(clips[0].condition[0, 0, 0], torch.from_numpy(Edges().edges(FRAMES[1])))


def test_a_pipe_gives_the_same_conditions_as_files(dataset, monkeypatch):
    files = list(opened(dataset, video=str(dataset / "ride"), picture=True).sequences[0][1])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"".join(f.tobytes() for f in FRAMES))))
    ((name, reader, length),) = opened(dataset, video="-", size=(32, 24)).sequences
    piped = list(reader)
    assert (name, length, len(piped)) == ("stdin", None, 6)
    for one, other in zip(files, piped, strict=True):
        torch.testing.assert_close(one.condition, other.condition, rtol=0, atol=0)
        assert one.picture is not None and other.picture is not None and one.picture.shape == other.picture.shape


def test_a_loop_begins_again(dataset):
    ((_, reader, length),) = opened(dataset, video=str(dataset / "ride"), loop=True).sequences
    names = [clip.names[0][0] for clip in islice(reader, 8)]
    assert length is None and names[6:] == names[:2]


def test_half_a_frame_in_a_pipe_is_refused():
    stream = io.BytesIO(bytes(24 * 32 * 3 + 100))
    with pytest.raises(UserError, match=r"100 bytes of 2304; --input_size 32x24"):
        list(raw_frames(stream, (32, 24)))


def test_what_a_picture_does_not_hold_is_refused():
    with pytest.raises(UserError, match="a single picture gives no label map"):
        next(live_clips(FRAMES, Street(35, 3, False), None, AS_IT_IS))
    pose = Pose(densepose=True, openpose=True, basic_points=False, remove_face_labels=False, drop_prob=0, people="all")
    with pytest.raises(UserError, match="no pose"):
        next(live_clips(FRAMES, pose, None, AS_IT_IS))


def test_the_frames_of_a_run_are_dealt_out_to_its_sequences_in_order():
    readers = Readers([("a", [], 6), ("b", [], 5), ("c", [], None), ("d", [], 9)])
    assert [(job.name, job.count) for job in readers.jobs(6, 2)] == [("a", 4), ("b", 2)]
    assert [(job.name, job.count) for job in readers.jobs(7, 2)] == [("a", 4), ("b", 3)]
    assert [(job.name, job.count) for job in readers.jobs(300, 2)] == [("a", 4), ("b", 3), ("c", 293)]
    assert [job.count for job in Readers([("pipe", [], None)]).jobs(float("inf"), 2)] == [None]


def test_a_job_reads_what_it_needs_and_no_more():
    jobs = Readers([("a", iter(range(9)), 9), ("b", iter(range(9)), 9)]).jobs(9, 2)
    assert [(list(job.frames), job.count) for job in jobs] == [(list(range(9)), 7), (list(range(4)), 2)]


def test_sequences_of_like_length_are_done_at_the_same_time():
    jobs = Readers([("a", [], 6), ("b", [], 9), ("c", [], 7), ("d", [], 8)]).jobs(300, 2)
    assert [[job.name for job in group] for group in at_once(jobs, 1)] == [["a"], ["b"], ["c"], ["d"]]
    assert [[job.name for job in group] for group in at_once(jobs, 3)] == [["b", "d", "c"], ["a"]]
    endless = Readers([("a", [], 6), ("pipe", [], None)]).jobs(float("inf"), 2)
    assert [[job.name for job in group] for group in at_once(endless, 9)] == [["pipe", "a"]]
