"""FlowNet2 against the published release, and what its estimator adds."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.flow import add_confidence
from models.flow.flownet2 import FlowNet2, FlowNet2Estimator, load_flownet2
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
    outputs = {}
    for name, stage in network.named_children():
        stage.register_forward_hook(
            lambda module, inputs, output, name=name: outputs.update({name: output})
        )
    with torch.no_grad():
        outputs["flow"] = network(first, second)
    for name, output in outputs.items():
        error = (output - case[name]).abs().max() / case[name].abs().max()
        assert error <= 1e-3, f"{name}: {error:.1e} of its largest value"


def test_other_sizes_are_resized_down_and_back() -> None:
    """The network runs on 64x128 for images of 100x150: a flow of (1, 1) becomes (150/128, 100/64)."""
    network_inputs = []

    def network(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        network_inputs.append(first)
        return torch.ones(1, 2, *first.shape[2:])

    current = torch.linspace(-1, 1, 150).expand(1, 3, 100, 150)
    estimate = FlowNet2Estimator(network)(current, -current)
    # Half-pixel centers, as published.
    expected = torch.nn.functional.interpolate(current, (64, 128), mode="bilinear")
    torch.testing.assert_close(network_inputs[0], expected)
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
    ("checkpoint", "message"),
    [
        ({"model": 1}, "found model"),
        (
            {"state_dict": {"conv.weight": torch.zeros(3, 2)}},
            "6 parameters in 1 tensors.*162,518,834 parameters",
        ),
        ({"state_dict": [1, 2]}, "found state_dict"),
    ],
)
def test_other_checkpoint_is_refused_with_its_content_named(
    checkpoint: dict[str, object], message: str, tmp_path: Path
) -> None:
    torch.save(checkpoint, tmp_path / "other.pth.tar")
    with pytest.raises(UserError, match=rf"other.pth.tar.*{message}") as error:
        load_flownet2(tmp_path / "other.pth.tar", torch.device("cpu"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_with_a_numpy_scalar_loads(zipped: bool, tmp_path: Path) -> None:
    """Old checkpoints hold a numpy scalar: reading it must not fail or run code."""
    path = tmp_path / "old.pth.tar"
    checkpoint = {"best_EPE": np.float64(2.3), "state_dict": {}}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    if not zipped:
        content = path.read_bytes()
        path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    # The file was read; only its weights are missing.
    with pytest.raises(UserError, match="0 parameters in 0 tensors"):
        load_flownet2(path, torch.device("cpu"))
