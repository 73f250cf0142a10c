"""test.py --batch_sequences writes the same files as one sequence after another."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.synthetic import make_toy_data
from tests.programs import run_program
from tests.tiny import save_tiny_run

LENGTHS = {"seq0001": 5, "seq0002": 8, "seq0003": 6, "small": 6}
FLAGS = "--label_nc 35 --use_instance --resize_or_crop none --gpu_ids -1"
START_FRAME = 1  # applies to the first sequence alone


@pytest.fixture(scope="module")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with random weights, and sequences of unequal lengths, one of another size."""
    root = tmp_path_factory.mktemp("batch")
    make_toy_data("street", root / "data", sequences=3, frames=8, size=(64, 32), phases=("test",))
    make_toy_data("street", root / "other", sequences=1, frames=8, size=(48, 32), phases=("test",))
    for stream in ("A", "B", "inst"):
        folder = root / f"data/test_{stream}"
        shutil.copytree(root / f"other/test_{stream}/seq0001", folder / "small")
        for name, length in LENGTHS.items():
            for path in sorted((folder / name).iterdir())[length:]:
                path.unlink()
    save_tiny_run(root / "run", f"{FLAGS} --no_first_img")
    return root


def synthesize(root: Path, flags: str) -> dict[Path, Path]:
    """Run test.py and return the result files by their relative paths."""
    results = root / "results" / flags.replace(" ", "_").replace("/", "_")
    folders = f"--dataroot {root / 'data'} --checkpoints_dir {root} --results_dir {results}"
    assert run_program("test.py", f"--name run {flags} {folders} --gpu_ids -1".split()) == 0
    paths = sorted(path for path in results.rglob("*") if path.is_file())
    return {path.relative_to(results): path for path in paths}


@pytest.mark.parametrize(
    ("flags", "n_frames"),
    [
        (
            f"--use_real_img --start_frame {START_FRAME}",
            sum(LENGTHS.values()) - 2 * len(LENGTHS) - START_FRAME,
        ),
        ("--no_first_img --how_many 11", 11),
    ],
)
@pytest.mark.parametrize("batch_size", [3, 9])
def test_batched_synthesis_writes_the_same_files(
    run_root: Path, flags: str, n_frames: int, batch_size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    separate = synthesize(run_root, flags)
    batched = synthesize(run_root, f"{flags} --batch_sequences {batch_size}")
    assert separate.keys() == batched.keys()
    assert sum("fake_B_frame" in path.name for path in separate) == n_frames
    assert f"{n_frames} frames of" in capsys.readouterr().out.splitlines()[-1]
    for name, path in separate.items():
        if path.suffix == ".jpg" and "fake_B" in name.name:
            image, other = (
                np.asarray(Image.open(file)).astype(int) for file in (path, batched[name])
            )
            # rounding to 8 bits, then JPEG, magnifies tiny differences
            assert np.abs(image - other).mean() < 0.5, name
        elif path.suffix in (".png", ".html", ".jpg"):
            assert path.read_bytes() == batched[name].read_bytes(), name


def test_key_frame_synthesis_runs_sequences_one_after_another(run_root: Path) -> None:
    separate = synthesize(run_root, "--use_real_img --keyframes 2")
    batched = synthesize(run_root, "--use_real_img --keyframes 2 --batch_sequences 3")
    assert separate.keys() == batched.keys()
    for name, path in separate.items():
        assert path.read_bytes() == batched[name].read_bytes(), name
