"""torchvision's RAFT as a reference flow estimator."""

from pathlib import Path

import pytest
import torch

from models.flow.raft import RAFTFlowEstimator, find_cached_raft_weights, load_raft
from util.errors import UserError
from util.runtime.torchvision_compat import import_torchvision


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(import_torchvision().models.optical_flow.raft_small(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize(("height", "width"), [(128, 160), (50, 131), (130, 20)])
def test_padding_is_removed_where_it_was_added(height: int, width: int) -> None:
    """A network that returns its first image's red and green yields those of the unpadded image."""

    def network(current: torch.Tensor, previous: torch.Tensor) -> list[torch.Tensor]:
        assert current.shape == previous.shape
        assert all(side % 8 == 0 and side >= 128 for side in current.shape[2:])
        return [torch.zeros_like(current[:, :2]), current[:, :2]]

    current, previous = torch.rand(2, 2, 3, height, width)
    torch.testing.assert_close(
        RAFTFlowEstimator(network).estimate(current, previous), current[:, :2]
    )


def test_raft_variant_is_inferred_from_its_weights(small_weights: Path) -> None:
    estimator = load_raft(small_weights, torch.device("cpu"))
    n_parameters = sum(parameter.numel() for parameter in estimator.network.parameters())
    assert n_parameters == 990_162  # of raft_small, according to torchvision
    estimate = estimator(*torch.rand(2, 1, 3, 40, 64))
    assert estimate.flow.shape == (1, 2, 40, 64) and estimate.confidence.shape == (1, 1, 40, 64)
    assert not estimate.flow.requires_grad


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="other.pth .*neither RAFT"):
        load_raft(tmp_path / "other.pth", torch.device("cpu"))


def test_weights_are_cached_in_the_torch_hub_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert find_cached_raft_weights() is None
    path = tmp_path / "hub/checkpoints/raft_small_C_T_V2-01064c6d.pth"
    path.parent.mkdir(parents=True)
    path.touch()
    assert find_cached_raft_weights() == path
