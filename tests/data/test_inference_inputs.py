"""Tests of the inputs of test.py: data sets, videos, folders of frames and pipes."""

import io
import sys
from itertools import islice

import numpy as np
import pytest
import torch

from data.inference_inputs import InferenceInputs, InputConfig, batch_jobs, open_inference_inputs
from data.prepare.config import PrepareConfig
from data.prepare.extractors.edges import EdgeExtractor
from data.prepare.video import VideoConfig
from data.streaming import read_rgb24_frames, stream_clips
from data.street import StreetFrameReader
from data.transforms import TransformConfig
from tests.frame_readers import POSE_READER
from util.errors import UserError
from util.images.visualization import save_image
from util.io.video import VideoWriter

UNCHANGED = TransformConfig(512, 512, "none", uses_flip=False)
EDGE_READER = StreetFrameReader(label_nc=0, input_nc=1, use_instance=False)
FRAMES = [np.random.default_rng(t).integers(0, 256, (24, 32, 3), dtype=np.uint8) for t in range(6)]


@pytest.fixture
def dataset(tmp_path):
    """A prepared data set root, with a video and a folder of its frames."""
    PrepareConfig("edges", EdgeExtractor(), VideoConfig()).save(tmp_path)
    for number, frame in enumerate(FRAMES):
        save_image(tmp_path / f"ride/{number:03}.png", frame)
    with VideoWriter(tmp_path / "ride.mp4", 12, (32, 24)) as video:
        for frame in FRAMES:
            video.write(frame)
    return tmp_path


def open_inputs(root, **config):
    return open_inference_inputs(
        InputConfig(root, "test", **config), EDGE_READER, UNCHANGED, 2, root / "work"
    )


def test_a_video_and_a_folder_of_its_frames_become_sequences_with_rate_and_size(dataset):
    video = open_inputs(dataset, input_source=str(dataset / "ride.mp4"), uses_real_images=True)
    ((name, reader, length),) = video.sequences
    assert (name, length) == ("ride", 6)
    assert (video.fps, video.size, video.audio_track) == (12, (32, 24), None)
    assert next(iter(reader)).condition.shape == (1, 1, 1, 24, 32)
    ((_, reader, length),) = open_inputs(
        dataset,
        input_source=str(dataset / "ride"),
        uses_real_images=True,
        start_frame=1,
        max_frames=2,
    ).sequences
    clips = list(reader)
    assert length == len(clips) == 4 and clips[0].names == (("ride/000002",),)
    edges = EdgeExtractor().extract_edges(FRAMES[1])
    assert torch.equal(clips[0].condition[0, 0, 0], torch.from_numpy(edges))


def test_pipe_and_files_give_the_same_conditions(dataset, monkeypatch):
    inputs = open_inputs(dataset, input_source=str(dataset / "ride"), uses_real_images=True)
    ((_, file_clips, _),) = inputs.sequences
    content = b"".join(frame.tobytes() for frame in FRAMES)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    ((name, reader, length),) = open_inputs(dataset, input_source="-", pipe_size=(32, 24)).sequences
    pipe_clips = list(reader)
    assert (name, length, len(pipe_clips)) == ("stdin", None, 6)
    for a, b in zip(file_clips, pipe_clips, strict=True):
        torch.testing.assert_close(a.condition, b.condition, rtol=0, atol=0)
        assert a.image is not None and b.image is not None and a.image.shape == b.image.shape


def test_looped_input_restarts_at_its_end(dataset):
    ((_, reader, length),) = open_inputs(
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
        next(stream_clips(FRAMES, StreetFrameReader(35, 3, False), None, UNCHANGED))
    with pytest.raises(UserError, match="no pose"):
        next(stream_clips(FRAMES, POSE_READER, None, UNCHANGED))


def test_how_many_frames_are_assigned_to_sequences_in_order():
    inputs = InferenceInputs([("a", [], 6), ("b", [], 5), ("c", [], None), ("d", [], 9)])

    def select(max_frames):
        return [(job.name, job.n_frames) for job in inputs.select_jobs(max_frames, n_history=2)]

    assert select(6) == [("a", 4), ("b", 2)]
    assert select(7) == [("a", 4), ("b", 3)]
    assert select(300) == [("a", 4), ("b", 3), ("c", 293)]
    (job,) = InferenceInputs([("pipe", [], None)]).select_jobs(float("inf"), n_history=2)
    assert job.n_frames is None


def test_job_reads_only_the_frames_it_needs():
    inputs = InferenceInputs([("a", iter(range(9)), 9), ("b", iter(range(9)), 9)])
    jobs = inputs.select_jobs(max_frames=9, n_history=2)
    assert [(list(job.frames), job.n_frames) for job in jobs] == [
        (list(range(9)), 7),
        (list(range(4)), 2),
    ]


def test_sequences_of_similar_length_are_batched():
    def batch(sequences, max_frames, batch_size):
        jobs = InferenceInputs(sequences).select_jobs(max_frames, n_history=2)
        return [[job.name for job in group] for group in batch_jobs(jobs, batch_size)]

    sequences = [("a", [], 6), ("b", [], 9), ("c", [], 7), ("d", [], 8)]
    assert batch(sequences, 300, batch_size=1) == [["a"], ["b"], ["c"], ["d"]]
    assert batch(sequences, 300, batch_size=3) == [["b", "d", "c"], ["a"]]
    with_pipe = [("a", [], 6), ("pipe", [], None)]
    assert batch(with_pipe, float("inf"), batch_size=9) == [["pipe", "a"]]
