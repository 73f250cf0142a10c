"""The golden cases: from drawn weights, the public release's losses line by line, the way its weights moved, its
images. The limits leave room for sums in another order, which later lines amplify, and for little else."""

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
LIMITS = (0.01, 0.03)  # of a value, in the first and second line of a log; 0.1 after that
FAST = "test.py "  # with the fast ways of wider networks and larger images than these
MEAN_ERROR, BLOCK_ERROR = 1.5, 16  # grey levels: of an image, of its worst aligned 8x8 block

Rows = list[tuple[str, dict[str, float]]]


def read_case(name: str) -> dict[str, Any]:
    case = json.loads((CASES / name / "case.json").read_text())
    case["shapes"] = {
        file: [(key, shape) for key, shape, *_ in shapes] for file, shapes in case["shapes"].items()
    }
    return case


def cases(kind: str) -> list[str]:
    return [
        path.parent.name
        for path in sorted(CASES.glob("*/case.json"))
        if json.loads(path.read_text())["kind"] == kind
    ]


def rows(lines: list[str]) -> Rows:
    """(epoch and clip, terms) of a loss log."""
    found = (re.match(r"\((epoch: \d+, iters: \d+), time: [\d.]+\) (.*)", line) for line in lines)
    return [
        (line[1], {name: float(value) for name, value in re.findall(r"(\w+): (\S+)", line[2])})
        for line in found
        if line
    ]


def draw_files(case: dict[str, Any], folder: Path) -> None:
    for name, shapes in case["shapes"].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(make_random_weights(shapes, case["seed"]), folder / name)


def moved(shapes: list, seed: int, trained: dict[str, torch.Tensor]) -> np.ndarray:
    """How 600 weights of convolutions, drawn as when the case was made, differ from where they started."""
    start = make_random_weights(shapes, seed)
    change = torch.cat(
        [
            (trained[key] - start[key]).flatten()
            for key, shape in shapes
            if key.endswith(".weight") and len(shape) > 1
        ]
    )
    return (
        change[torch.from_numpy(np.random.RandomState(1).randint(0, len(change), 600))]
        .double()
        .numpy()
    )


@pytest.mark.parametrize(
    ("name", "program"),
    [
        *product(cases("train"), ["train.py"]),
        ("train_street", "scripts/benchmarks/reference_implementation.py train"),
    ],
)
def test_training_matches_the_golden_case(name: str, program: str, tmp_path: Path) -> None:
    case = read_case(name)
    draw_files(case, tmp_path / "start")
    program, *way = program.split()
    assert (
        run_program(
            program,
            [
                *way,
                *case["flags"],
                "--dataroot",
                str(CASES / name / "datasets/data"),
                "--gpu_ids",
                "-1",
                "--checkpoints_dir",
                str(tmp_path),
                "--name",
                "run",
                "--flow_net",
                "dis",
                "--load_pretrain",
                str(tmp_path / "start"),
            ],
        )
        == 0
    )
    got, want = rows((tmp_path / "run/loss_log.txt").read_text().splitlines()), rows(case["log"])
    assert [step for step, _ in got] == [step for step, _ in want] != []
    for line, ((step, terms), (_, expected)) in enumerate(zip(got, want, strict=True)):
        assert set(terms) == set(expected), step
        limit = LIMITS[line] if line < len(LIMITS) else 0.1
        wrong = {
            key: (terms[key], value)
            for key, value in expected.items()
            if not abs(terms[key] - value) <= limit * (abs(value) + 0.05) + 0.0015
        }  # 3 decimals
        assert wrong == {}, step
    for file, change in case["delta"].items():
        a, b = (
            np.array(change),
            moved(
                case["shapes"][file],
                case["seed"],
                torch.load(tmp_path / "run" / file, weights_only=True),
            ),
        )
        if a.any():  # else the network had no step
            assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= case.get("alike", 0.9), file


@pytest.mark.parametrize(
    ("name", "program"),
    [
        *product(cases("test"), ["test.py"]),
        ("test_street", "scripts/benchmarks/reference_implementation.py test"),
        ("test_street", FAST),
        ("test_pose", FAST),
    ],
)
def test_synthesis_matches_the_golden_case(
    name: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program == FAST:
        monkeypatch.setattr("models.ops.dispatch.MIN_FEATURE_MAP_SIZE", 0)
    program, *way = program.split()
    case, flags = read_case(name), read_case(name)["flags"]
    draw_files(case, tmp_path / "checkpoints")
    flags[flags.index("--dataroot") + 1] = str(CASES / name / "datasets/data")
    assert (
        run_program(
            program,
            [
                *way,
                *flags,
                "--checkpoints_dir",
                str(tmp_path / "checkpoints"),
                "--gpu_ids",
                "-1",
                "--results_dir",
                str(tmp_path / "results"),
            ],
        )
        == 0
    )
    sequences = (
        [CASES / name / "expected" / s for s in case["sequences"]]
        if "sequences" in case
        else [CASES / name / "expected"]
    )
    expected = [file for folder in sequences for file in sorted(folder.rglob("*.*"))]
    assert expected
    for file in expected:
        ours = tmp_path / "results/run/test_latest" / file.relative_to(CASES / name / "expected")
        a, b = (np.asarray(Image.open(path).convert("RGB"), np.float32) for path in (file, ours))
        assert a.shape == b.shape
        error = np.abs(a - b).mean(2)
        height, width = (side // 8 * 8 for side in error.shape)
        blocks = error[:height, :width].reshape(height // 8, 8, width // 8, 8).mean((1, 3))
        assert error.mean() <= MEAN_ERROR and blocks.max() <= BLOCK_ERROR, ours.name
