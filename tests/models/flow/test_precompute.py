from pathlib import Path

import pytest
import torch

from data.image_io import read_image
from data.synthetic import make_toy_data
from models.flow import ZeroFlowEstimator
from models.flow.annotate import CachedFlowAnnotator, FlowAnnotator, build_flow_annotator
from models.flow.cache import FlowCache
from models.flow.dis import DISFlowEstimator
from models.flow.precompute import list_file_pairs, precompute_flow
from models.flow.raft import RAFTFlowEstimator
from models.losses.temporal_groups import TemporalConfig, compute_flow_strides, list_flow_pairs


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
    numbers = list_flow_pairs(n_frames=62, window_size=6, n_frames_G=3, config=config)
    asked = {(a - b) * spacing for a, b in numbers for spacing in range(1, max_t_step + 1)}
    assert compute_flow_strides(max_t_step, config) == asked


def test_file_pairs_match_flow_strides() -> None:
    a, b = [Path(f"a{n}") for n in range(3)], [Path(f"b{n}") for n in range(2)]
    assert list_file_pairs([a, b], {2, 1}) == [
        (a[1], a[0]),
        (a[2], a[1]),
        (a[2], a[0]),
        (b[1], b[0]),
    ]


def test_precompute_resumes_after_an_interruption(tmp_path: Path) -> None:
    make_toy_data("street", tmp_path, sequences=1, frames=4, size=(64, 32))
    files = sorted((tmp_path / "train_B").rglob("*.png")) + sorted(
        (tmp_path / "train_B").rglob("*.jpg")
    )
    pairs, asked = list_file_pairs([files], {1}), []

    def network(current: torch.Tensor, previous: torch.Tensor) -> list[torch.Tensor]:
        asked.append(current)
        return [current[:, :2]]

    reference = RAFTFlowEstimator(network)
    cache = FlowCache.for_estimator(tmp_path / "cache", reference)
    precompute_flow(cache, pairs[:2], reference, read_image, torch.device("cpu"))
    precompute_flow(cache, pairs, reference, read_image, torch.device("cpu"))
    assert len(asked) == len(pairs) == 3


def test_annotator_depends_on_the_estimator_and_the_cache(tmp_path: Path) -> None:
    def annotated(reference, folder):  # type: ignore[no-untyped-def]
        return build_flow_annotator(reference, lambda clip: (), read_image, folder)

    raft = RAFTFlowEstimator(lambda current, previous: [])
    assert annotated(ZeroFlowEstimator(), tmp_path) is None and annotated(raft, None) is None
    assert isinstance(annotated(DISFlowEstimator(), None), FlowAnnotator)
    found, estimated = annotated(raft, tmp_path), annotated(DISFlowEstimator(), tmp_path)
    assert isinstance(found, CachedFlowAnnotator) and found.flow_estimator is None
    assert isinstance(estimated, CachedFlowAnnotator) and estimated.flow_estimator is not None
