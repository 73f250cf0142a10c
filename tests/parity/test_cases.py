"""The golden cases: losses, changes of weights, and images of the public release.

Training and synthesis start from the same random weights. The tolerances allow for sums in another
order, whose rounding errors grow from step to step, and for little else.
"""

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.parity_weights import make_random_weights
from tests.programs import run_program

CASES = Path(__file__).parent / "cases"
REFERENCE = "scripts/benchmarks/reference_implementation.py"
LOSS_TOLERANCES = (0.01, 0.03)  # relative, of the first and second line of a loss log
LATER_LOSS_TOLERANCE = 0.1
LOGGED_PRECISION = 0.0015  # losses are logged with 3 decimals
MAX_MEAN_ERROR = 1.5  # of an image, of 255
MAX_BLOCK_ERROR = 16  # mean of the worst aligned 8x8 block of an image, of 255

LossLog = list[tuple[str, dict[str, float]]]


def read_case(name: str) -> dict[str, Any]:
    case = json.loads((CASES / name / "case.json").read_text())
    case["shapes"] = {
        file: [(key, shape) for key, shape, *_ in shapes] for file, shapes in case["shapes"].items()
    }
    return case


def list_cases(kind: str) -> list[str]:
    return [
        path.parent.name
        for path in sorted(CASES.glob("*/case.json"))
        if json.loads(path.read_text())["kind"] == kind
    ]


def parse_loss_log(lines: list[str]) -> LossLog:
    """Return the epoch and clip, and the losses, of each line."""
    log = []
    for line in lines:
        match = re.match(r"\((epoch: \d+, iters: \d+), time: [\d.]+\) (.*)", line)
        if match:
            losses = re.findall(r"(\w+): (\S+)", match[2])
            log.append((match[1], {name: float(value) for name, value in losses}))
    return log


def save_random_weights(case: dict[str, Any], folder: Path) -> None:
    for name, shapes in case["shapes"].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(make_random_weights(shapes, case["seed"]), folder / name)


def sample_weight_change(shapes: list, seed: int, weights: dict[str, torch.Tensor]) -> np.ndarray:
    """Return how 600 weights of convolutions changed, sampled as when the case was made."""
    start = make_random_weights(shapes, seed)
    changes = [
        (weights[key] - start[key]).flatten()
        for key, shape in shapes
        if key.endswith(".weight") and len(shape) > 1
    ]
    change = torch.cat(changes)
    indices = np.random.RandomState(1).randint(0, len(change), 600)
    return change[torch.from_numpy(indices)].double().numpy()


def is_close(value: float, expected: float, tolerance: float) -> bool:
    return abs(value - expected) <= tolerance * (abs(expected) + 0.05) + LOGGED_PRECISION


def cosine_similarity(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(
    ("name", "program"),
    [*product(list_cases("train"), ["train.py"]), ("train_street", f"{REFERENCE} train")],
)
def test_training_matches_the_golden_case(name: str, program: str, tmp_path: Path) -> None:
    case = read_case(name)
    save_random_weights(case, tmp_path / "start")
    program, *arguments = program.split()
    flags = ["--dataroot", str(CASES / name / "datasets/data"), "--gpu_ids", "-1"]
    flags += ["--checkpoints_dir", str(tmp_path), "--name", "run", "--flow_net", "dis"]
    flags += ["--load_pretrain", str(tmp_path / "start")]
    assert run_program(program, [*arguments, *case["flags"], *flags]) == 0

    log = parse_loss_log((tmp_path / "run/loss_log.txt").read_text().splitlines())
    expected_log = parse_loss_log(case["log"])
    assert [step for step, _ in log] == [step for step, _ in expected_log] != []
    for i, ((step, losses), (_, expected)) in enumerate(zip(log, expected_log, strict=True)):
        assert set(losses) == set(expected), step
        tolerance = LOSS_TOLERANCES[i] if i < len(LOSS_TOLERANCES) else LATER_LOSS_TOLERANCE
        wrong = {
            key: (losses[key], value)
            for key, value in expected.items()
            if not is_close(losses[key], value, tolerance)
        }
        assert wrong == {}, step
    for file, change in case["delta"].items():
        weights = torch.load(tmp_path / "run" / file, weights_only=True)
        expected_change = np.array(change)
        own_change = sample_weight_change(case["shapes"][file], case["seed"], weights)
        if expected_change.any():  # else the network was not trained
            min_similarity = case.get("alike", 0.9)
            assert cosine_similarity(expected_change, own_change) >= min_similarity, file


@pytest.mark.parametrize(
    ("name", "program", "uses_optimized_ops"),
    [
        *product(list_cases("test"), ["test.py"], [False]),
        ("test_street", f"{REFERENCE} test", False),
        ("test_street", "test.py", True),
        ("test_pose", "test.py", True),
    ],
)
def test_synthesis_matches_the_golden_case(
    name: str,
    program: str,
    uses_optimized_ops: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if uses_optimized_ops:  # by default, only networks and images larger than these use them
        monkeypatch.setattr("models.ops.dispatch.MIN_FEATURE_MAP_SIZE", 0)
    program, *arguments = program.split()
    case = read_case(name)
    flags = case["flags"]
    flags[flags.index("--dataroot") + 1] = str(CASES / name / "datasets/data")
    flags += ["--checkpoints_dir", str(tmp_path / "checkpoints"), "--gpu_ids", "-1"]
    flags += ["--results_dir", str(tmp_path / "results")]
    save_random_weights(case, tmp_path / "checkpoints")
    assert run_program(program, [*arguments, *flags]) == 0

    expected_root = CASES / name / "expected"
    folders = [expected_root / sequence for sequence in case.get("sequences", ["."])]
    files = [file for folder in folders for file in sorted(folder.rglob("*.*"))]
    assert files
    for file in files:
        result = tmp_path / "results/run/test_latest" / file.relative_to(expected_root)
        expected, image = (
            np.asarray(Image.open(path).convert("RGB"), np.float32) for path in (file, result)
        )
        assert expected.shape == image.shape
        error = np.abs(expected - image).mean(2)
        height, width = (size // 8 * 8 for size in error.shape)
        blocks = error[:height, :width].reshape(height // 8, 8, width // 8, 8).mean((1, 3))
        assert error.mean() <= MAX_MEAN_ERROR and blocks.max() <= MAX_BLOCK_ERROR, result.name
