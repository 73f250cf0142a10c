import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.flow.flownet2 import FlowNet2
from tests.parity_weights import draw_weights

PARITY = Path(__file__).parents[2] / "parity/flownet2"
KEYS = [(key, tuple(shape)) for key, shape in json.loads((PARITY / "keys.json").read_text())["state_dict"]]


@pytest.fixture(scope="module")
def network() -> FlowNet2:
    with torch.device("meta"):
        network = FlowNet2()
    network.load_state_dict(draw_weights(KEYS, seed=7, gain=1.3), assign=True)
    return network.eval()


def test_keys_are_the_published_ones() -> None:
    with torch.device("meta"):
        state = FlowNet2().state_dict()
    assert [(key, tuple(tensor.shape)) for key, tensor in state.items()] == KEYS
    assert sum(tensor.numel() for tensor in state.values()) == 162_518_834


def test_every_stage_and_the_flow_are_those_of_the_release(network: FlowNet2) -> None:
    case = {name: torch.from_numpy(values) for name, values in np.load(PARITY / "case.npz").items()}
    first, second = (case[name].permute(2, 0, 1)[None] / 127.5 - 1 for name in ("first", "second"))
    got = {}
    for name, stage in network.named_children():
        stage.register_forward_hook(lambda module, inputs, output, name=name: got.update({name: output}))
    with torch.no_grad():
        got["flow"] = network(first, second)
    for name, output in got.items():
        error = (output - case[name]).abs().max() / case[name].abs().max()
        print(name, error)
        assert error <= 1e-3, f"{name}: {error:.1e} of its largest value"
