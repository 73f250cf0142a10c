import io
import sys
from itertools import islice

import numpy as np
import pytest
import torch

from data.inference_inputs import InferenceInputs, InputConfig, batch_jobs, open_inference_inputs
from data.pose import PoseFrameReader
from data.prepare.config import PrepareConfig
from data.prepare.extractors.edges import EdgeExtractor
from data.prepare.video import VideoConfig
from data.streaming import read_rgb24_frames, stream_clips
from data.street import StreetFrameReader
from data.transforms import TransformConfig
from util.errors import UserError
from util.images.visualization import save_image
from util.io.video import VideoWriter

AS_IT_IS = TransformConfig(512, 512, "none", uses_flip=False)
STREET = StreetFrameReader(0, 1, False)
FRAMES = [np.random.default_rng(t).integers(0, 256, (24, 32, 3), dtype=np.uint8) for t in range(6)]


@pytest.fixture
def dataset(tmp_path):
    PrepareConfig("edges", EdgeExtractor(), VideoConfig()).save(tmp_path)
    for number, frame in enumerate(FRAMES):
        save_image(tmp_path / f"ride/{number:03}.png", frame)
    with VideoWriter(tmp_path / "ride.mp4", 12, (32, 24)) as video:
        for frame in FRAMES:
            video.write(frame)
    return tmp_path


def opened(root, **config):
    return open_inference_inputs(
        InputConfig(root, "test", **config), STREET, AS_IT_IS, 2, root / "work"
    )


def test_a_video_and_a_folder_of_its_frames_become_sequences_with_rate_and_size(dataset):
    video = opened(dataset, input_source=str(dataset / "ride.mp4"), uses_real_images=True)
    ((name, reader, length),) = video.sequences
    assert (name, length, float(video.fps), video.size, video.audio_track) == (
        "ride",
        6,
        12,
        (32, 24),
        None,
    )
    assert next(iter(reader)).condition.shape == (1, 1, 1, 24, 32)
    ((_, reader, length),) = opened(
        dataset,
        input_source=str(dataset / "ride"),
        uses_real_images=True,
        start_frame=1,
        max_frames=2,
    ).sequences
    clips = list(reader)
    assert length == len(clips) == 4 and clips[0].names == (("ride/000002",),)
    assert torch.equal(
        clips[0].condition[0, 0, 0], torch.from_numpy(EdgeExtractor().extract_edges(FRAMES[1]))
    )


def test_pipe_and_files_give_the_same_conditions(dataset, monkeypatch):
    files = list(
        opened(dataset, input_source=str(dataset / "ride"), uses_real_images=True).sequences[0][1]
    )
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(b"".join(f.tobytes() for f in FRAMES)))
    )
    ((name, reader, length),) = opened(dataset, input_source="-", pipe_size=(32, 24)).sequences
    piped = list(reader)
    assert (name, length, len(piped)) == ("stdin", None, 6)
    for one, other in zip(files, piped, strict=True):
        torch.testing.assert_close(one.condition, other.condition, rtol=0, atol=0)
        assert (
            one.image is not None
            and other.image is not None
            and one.image.shape == other.image.shape
        )


def test_looped_input_restarts_at_its_end(dataset):
    ((_, reader, length),) = opened(
        dataset, input_source=str(dataset / "ride"), should_loop=True
    ).sequences
    names = [clip.names[0][0] for clip in islice(reader, 8)]
    assert length is None and names[6:] == names[:2]


def test_half_a_frame_in_a_pipe_is_refused():
    stream = io.BytesIO(bytes(24 * 32 * 3 + 100))
    with pytest.raises(UserError, match=r"100 bytes of 2304; --input_size 32x24"):
        list(read_rgb24_frames(stream, (32, 24)))


def test_condition_that_an_image_cannot_provide_is_refused():
    with pytest.raises(UserError, match="a single image gives no label map"):
        next(stream_clips(FRAMES, StreetFrameReader(35, 3, False), None, AS_IT_IS))
    pose = PoseFrameReader(
        uses_densepose=True,
        uses_openpose=True,
        uses_basic_points=False,
        remove_face_labels=False,
        drop_prob=0,
        person_selection="all",
    )
    with pytest.raises(UserError, match="no pose"):
        next(stream_clips(FRAMES, pose, None, AS_IT_IS))


def test_how_many_frames_are_assigned_to_sequences_in_order():
    readers = InferenceInputs([("a", [], 6), ("b", [], 5), ("c", [], None), ("d", [], 9)])
    assert [(job.name, job.n_frames) for job in readers.select_jobs(6, 2)] == [("a", 4), ("b", 2)]
    assert [(job.name, job.n_frames) for job in readers.select_jobs(7, 2)] == [("a", 4), ("b", 3)]
    assert [(job.name, job.n_frames) for job in readers.select_jobs(300, 2)] == [
        ("a", 4),
        ("b", 3),
        ("c", 293),
    ]
    assert [
        job.n_frames for job in InferenceInputs([("pipe", [], None)]).select_jobs(float("inf"), 2)
    ] == [None]


def test_job_reads_only_the_frames_it_needs():
    jobs = InferenceInputs([("a", iter(range(9)), 9), ("b", iter(range(9)), 9)]).select_jobs(9, 2)
    assert [(list(job.frames), job.n_frames) for job in jobs] == [
        (list(range(9)), 7),
        (list(range(4)), 2),
    ]


def test_sequences_of_similar_length_are_batched():
    jobs = InferenceInputs([("a", [], 6), ("b", [], 9), ("c", [], 7), ("d", [], 8)]).select_jobs(
        300, 2
    )
    assert [[job.name for job in group] for group in batch_jobs(jobs, 1)] == [
        ["a"],
        ["b"],
        ["c"],
        ["d"],
    ]
    assert [[job.name for job in group] for group in batch_jobs(jobs, 3)] == [
        ["b", "d", "c"],
        ["a"],
    ]
    endless = InferenceInputs([("a", [], 6), ("pipe", [], None)]).select_jobs(float("inf"), 2)
    assert [[job.name for job in group] for group in batch_jobs(endless, 9)] == [["pipe", "a"]]
