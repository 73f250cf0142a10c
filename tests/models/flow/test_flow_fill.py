from pathlib import Path

import pytest
import torch

from data.pictures import read_picture
from data.toy import make_toy_data
from models.flow import NoFlow
from models.flow.annotate import CachedAnnotator, EstimatingAnnotator, annotator
from models.flow.cache import FlowCache
from models.flow.dis import Dis
from models.flow.fill import file_pairs, fill
from models.flow.raft import Raft
from models.temporal import TemporalConfig, flow_distances, flow_pairs
from scripts.precompute_flow import main
from util.errors import UserError


@pytest.mark.parametrize("config", [
    TemporalConfig(3, 3), TemporalConfig(2, 3), TemporalConfig(3, 1), TemporalConfig(3, 0),
    TemporalConfig(3, 3, sparse=True),
])
@pytest.mark.parametrize("max_t_step", [1, 3])
def test_distances_are_those_of_all_clips(config: TemporalConfig, max_t_step: int) -> None:
    numbers = flow_pairs(n_frames=62, load=6, n_frames_G=3, config=config)
    asked = {(a - b) * spacing for a, b in numbers for spacing in range(1, max_t_step + 1)}
    assert flow_distances(max_t_step, config) == asked


def test_pairs_of_files() -> None:
    a, b = [Path(f"a{n}") for n in range(3)], [Path(f"b{n}") for n in range(2)]
    assert file_pairs([a, b], {2, 1}) == [(a[1], a[0]), (a[2], a[1]), (a[2], a[0]), (b[1], b[0])]


def test_filling_goes_on_where_it_was(tmp_path: Path) -> None:
    make_toy_data("street", tmp_path, sequences=1, frames=4, size=(64, 32))
    files = sorted((tmp_path / "train_B").rglob("*.png")) + sorted((tmp_path / "train_B").rglob("*.jpg"))
    pairs, asked = file_pairs([files], {1}), []

    def network(current: torch.Tensor, previous: torch.Tensor) -> list[torch.Tensor]:
        asked.append(current)
        return [current[:, :2]]

    reference = Raft(network)
    cache = FlowCache.of(tmp_path / "cache", reference)
    fill(cache, pairs[:2], reference, read_picture, torch.device("cpu"))
    fill(cache, pairs, reference, read_picture, torch.device("cpu"))
    assert len(asked) == len(pairs) == 3


def test_who_estimates_what(tmp_path: Path) -> None:
    def annotated(reference, folder):  # type: ignore[no-untyped-def]
        return annotator(reference, lambda clip: (), read_picture, folder)

    raft = Raft(lambda current, previous: [])
    assert annotated(NoFlow(), tmp_path) is None and annotated(raft, None) is None
    assert isinstance(annotated(Dis(), None), EstimatingAnnotator)
    found, estimated = annotated(raft, tmp_path), annotated(Dis(), tmp_path)
    assert isinstance(found, CachedAnnotator) and found.reference is None
    assert isinstance(estimated, CachedAnnotator) and estimated.reference is not None


def test_command_line(tmp_path: Path) -> None:
    make_toy_data("street", tmp_path / "data", sequences=1, frames=5, size=(64, 32))
    flags = ["--dataroot", str(tmp_path / "data"), "--label_nc", "35", "--flow_net", "dis", "--gpu_ids", "-1"]
    with pytest.raises(UserError, match="--flow_cache is not given"):
        main(flags)
    main([*flags, "--flow_cache", str(tmp_path / "cache")])
    assert len(list((tmp_path / "cache").rglob("*.flow"))) == 4 + 2  # neighbours, and those 3 frames apart
