"""Estimating flow ahead of training, and what the data loader's workers add to a clip."""

from pathlib import Path

import pytest
import torch

from data.image_io import read_image
from data.synthetic import make_toy_data
from models.flow import FlowEstimator, ZeroFlowEstimator
from models.flow.cache import FlowCache
from models.flow.dis import DISFlowEstimator
from models.flow.precompute import (
    CachedFlowAnnotator,
    FlowAnnotator,
    build_flow_annotator,
    list_file_pairs,
    precompute_flow,
)
from models.flow.raft import RAFTFlowEstimator
from models.losses.temporal_groups import compute_flow_strides, list_flow_pairs
from models.networks.discriminators import TemporalConfig


@pytest.mark.parametrize(
    "config",
    [
        TemporalConfig(3, 3),
        TemporalConfig(2, 3),
        TemporalConfig(3, 1),
        TemporalConfig(3, 0),
        TemporalConfig(3, 3, is_sparse=True),
    ],
)
@pytest.mark.parametrize("max_t_step", [1, 3])
def test_flow_strides_cover_all_clips(config: TemporalConfig, max_t_step: int) -> None:
    pairs = list_flow_pairs(n_frames=62, window_size=6, n_frames_G=3, config=config)
    expected = {
        (current - previous) * t_step
        for current, previous in pairs
        for t_step in range(1, max_t_step + 1)
    }
    assert compute_flow_strides(max_t_step, config) == expected


def test_file_pairs_match_flow_strides() -> None:
    a = [Path(f"a{i}") for i in range(3)]
    b = [Path(f"b{i}") for i in range(2)]
    assert list_file_pairs([a, b], {2, 1}) == [
        (a[1], a[0]),
        (a[2], a[1]),
        (a[2], a[0]),
        (b[1], b[0]),
    ]


def test_precompute_resumes_after_an_interruption(tmp_path: Path) -> None:
    make_toy_data("street", tmp_path, sequences=1, frames=4, size=(64, 32))
    files = sorted((tmp_path / "train_B").rglob("*.png"))
    files += sorted((tmp_path / "train_B").rglob("*.jpg"))
    pairs = list_file_pairs([files], {1})
    calls = []

    def network(current: torch.Tensor, previous: torch.Tensor) -> list[torch.Tensor]:
        calls.append(current)
        return [current[:, :2]]

    estimator = RAFTFlowEstimator(network)
    cache = FlowCache.for_estimator(tmp_path / "cache", estimator)
    precompute_flow(cache, pairs[:2], estimator, read_image, torch.device("cpu"))
    precompute_flow(cache, pairs, estimator, read_image, torch.device("cpu"))
    assert len(calls) == len(pairs) == 3


def test_annotator_depends_on_the_estimator_and_the_cache(tmp_path: Path) -> None:
    def build(flow_estimator: FlowEstimator, cache_folder: Path | None) -> object:
        return build_flow_annotator(flow_estimator, lambda clip: (), read_image, cache_folder)

    raft = RAFTFlowEstimator(lambda current, previous: [])
    assert build(ZeroFlowEstimator(), tmp_path) is None and build(raft, None) is None
    assert isinstance(build(DISFlowEstimator(), None), FlowAnnotator)
    raft_annotator, dis_annotator = build(raft, tmp_path), build(DISFlowEstimator(), tmp_path)
    assert isinstance(raft_annotator, CachedFlowAnnotator)
    assert raft_annotator.flow_estimator is None
    assert isinstance(dis_annotator, CachedFlowAnnotator)
    assert dis_annotator.flow_estimator is not None
