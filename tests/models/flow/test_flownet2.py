import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.flow import add_confidence
from models.flow.flownet2 import FlowNet2
from models.flow.flownet2_estimator import FlowNet2Estimator, load_flownet2
from tests.parity_weights import make_random_weights
from util.errors import UserError

PARITY = Path(__file__).parents[2] / "parity/flownet2"
KEYS = [
    (key, tuple(shape))
    for key, shape in json.loads((PARITY / "keys.json").read_text())["state_dict"]
]


@pytest.fixture(scope="module")
def network() -> FlowNet2:
    with torch.device("meta"):
        network = FlowNet2()
    network.load_state_dict(make_random_weights(KEYS, seed=7, gain=1.3), assign=True)
    return network.eval()


def test_keys_are_the_published_ones() -> None:
    with torch.device("meta"):
        state = FlowNet2().state_dict()
    assert [(key, tuple(tensor.shape)) for key, tensor in state.items()] == KEYS
    assert sum(tensor.numel() for tensor in state.values()) == 162_518_834


def test_every_stage_and_the_flow_match_the_release(network: FlowNet2) -> None:
    case = {name: torch.from_numpy(values) for name, values in np.load(PARITY / "case.npz").items()}
    first, second = (case[name].permute(2, 0, 1)[None] / 127.5 - 1 for name in ("first", "second"))
    got = {}
    for name, stage in network.named_children():
        stage.register_forward_hook(
            lambda module, inputs, output, name=name: got.update({name: output})
        )
    with torch.no_grad():
        got["flow"] = network(first, second)
    for name, output in got.items():
        error = (output - case[name]).abs().max() / case[name].abs().max()
        assert error <= 1e-3, f"{name}: {error:.1e} of its largest value"


def test_other_sizes_are_resized_down_and_back() -> None:
    """100x150 is seen as 64x128: a flow of (1, 1) there is (150/128, 100/64) here."""
    seen = []

    def network(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        seen.append(first)
        return torch.ones(1, 2, *first.shape[2:])

    current = torch.linspace(-1, 1, 150).expand(1, 3, 100, 150)
    estimate = FlowNet2Estimator(network)(current, -current)
    expected = torch.nn.functional.interpolate(
        current, (64, 128), mode="bilinear"
    )  # half-pixel, as published
    torch.testing.assert_close(seen[0], expected)
    torch.testing.assert_close(estimate.flow[0, :, 50, 70], torch.tensor([150 / 128, 100 / 64]))
    small = add_confidence(torch.ones(1, 2, 64, 128), expected, -expected).confidence
    assert 0 < small.mean() < 1
    torch.testing.assert_close(
        estimate.confidence, torch.nn.functional.interpolate(small, (100, 150), mode="bilinear")
    )


def test_multiples_of_64_are_not_resized() -> None:
    current, previous = torch.rand(2, 1, 3, 64, 128)
    estimate = FlowNet2Estimator(lambda first, second: first[:, :2])(current, previous)
    torch.testing.assert_close(estimate.flow, current[:, :2], rtol=0, atol=0)
    torch.testing.assert_close(
        estimate.confidence, add_confidence(current[:, :2], current, previous).confidence
    )


@pytest.mark.parametrize(
    ("saved", "found"),
    [
        ({"model": 1}, "found model"),
        (
            {"state_dict": {"conv.weight": torch.zeros(3, 2)}},
            "6 numbers in 1 tensors.*162,518,834 numbers",
        ),
        ({"state_dict": [1, 2]}, "found state_dict"),
    ],
)
def test_other_checkpoint_is_refused_with_its_content_named(
    saved: dict[str, object], found: str, tmp_path: Path
) -> None:
    torch.save(saved, tmp_path / "other.pth.tar")
    with pytest.raises(UserError, match=rf"other.pth.tar.*{found}") as fault:
        load_flownet2(tmp_path / "other.pth.tar", torch.device("cpu"))
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_with_a_numpy_scalar_loads(zipped: bool, tmp_path: Path) -> None:
    """Old training runs saved their best error so; reading it must neither fail nor run code."""
    path = tmp_path / "old.pth.tar"
    torch.save(
        {"best_EPE": np.float64(2.3), "state_dict": {}}, path, _use_new_zipfile_serialization=zipped
    )
    if not zipped:
        path.write_bytes(
            path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        )
    with pytest.raises(
        UserError, match="0 numbers in 0 tensors"
    ):  # read, and found to hold no weights
        load_flownet2(path, torch.device("cpu"))
