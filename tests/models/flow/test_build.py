"""Selection of the reference flow estimator."""

from pathlib import Path

import pytest
import torch

from models.flow import FlowConfig, build_flow_estimator
from util.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the torch hub cache of the test, which does not exist yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch/hub/checkpoints"


def make_config(flow_net: str, tmp_path: Path) -> FlowConfig:
    return FlowConfig(flow_net, flownet2_checkpoint=tmp_path / "flownet2.pth.tar")


@pytest.mark.parametrize("name", ["dis", "none"])
def test_explicit_flow_net_is_built(name: str, tmp_path: Path) -> None:
    estimator, summary = build_flow_estimator(make_config(name, tmp_path), CPU)
    assert estimator.name == name and summary == f"reference flow: {name} (set by --flow_net)"


def test_auto_without_any_weights_is_dis(tmp_path: Path) -> None:
    estimator, summary = build_flow_estimator(make_config("auto", tmp_path), CPU)
    assert estimator.name == "dis"
    assert str(tmp_path / "flownet2.pth.tar") in summary and "\n" not in summary


def test_auto_prefers_cached_raft_to_dis(tmp_path: Path, empty_cache: Path) -> None:
    empty_cache.mkdir(parents=True)
    (empty_cache / "raft_large_C_T_SKHT_V2-ff5fadd5.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"raft_large_C_T_SKHT_V2-ff5fadd5\.pth.*--raft_weights"):
        build_flow_estimator(make_config("auto", tmp_path), CPU)


def test_auto_prefers_flownet2(tmp_path: Path) -> None:
    (tmp_path / "flownet2.pth.tar").write_bytes(b"cut off")
    with pytest.raises(
        UserError, match=r"flownet2.pth.tar .* 7 bytes, the published file 650,102,505"
    ):
        build_flow_estimator(make_config("auto", tmp_path), CPU)


def test_missing_flownet2_error_names_the_alternatives(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        build_flow_estimator(make_config("flownet2", tmp_path), CPU)
    for hint in (
        str(tmp_path / "flownet2.pth.tar"),
        "scripts/download_models_flownet2.py",
        "--flownet2_checkpoint",
        "--flow_net raft, dis or none",
    ):
        assert hint in str(error.value)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="--flow_net pwc"):
        FlowConfig("pwc")
