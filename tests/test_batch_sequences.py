"""test.py --batch_sequences leaves what one sequence after the other leaves."""

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
SKIPPED = 1  # --start_frame: of the first sequence


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with drawn weights, and sequences of unequal lengths, one of them of another size."""
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


def made(root: Path, flags: str) -> Path:
    results = root / "results" / flags.replace(" ", "_").replace("/", "_")
    assert (
        run_program(
            "test.py",
            [
                *f"--name run {flags}".split(),
                "--dataroot",
                str(root / "data"),
                "--checkpoints_dir",
                str(root),
                "--results_dir",
                str(results),
                "--gpu_ids",
                "-1",
            ],
        )
        == 0
    )
    return results


def files(folder: Path) -> dict[Path, Path]:
    return {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("flags", "frames"),
    [
        (
            f"--use_real_img --start_frame {SKIPPED}",
            sum(LENGTHS.values()) - 2 * len(LENGTHS) - SKIPPED,
        ),
        ("--no_first_img --how_many 11", 11),
    ],
)
@pytest.mark.parametrize("at_once", [3, 9])
def test_batched_synthesis_writes_the_same_files(
    trained: Path, flags: str, frames: int, at_once: int, capsys: pytest.CaptureFixture[str]
) -> None:
    alone, together = (
        files(made(trained, f"{flags}{more}")) for more in ("", f" --batch_sequences {at_once}")
    )
    assert alone.keys() == together.keys()
    assert sum("fake_B_frame" in path.name for path in alone) == frames
    assert f"{frames} frames of" in capsys.readouterr().out.splitlines()[-1]
    for name, path in alone.items():
        if path.suffix == ".jpg" and "fake_B" in name.name:
            one, other = (
                np.asarray(Image.open(found)).astype(int) for found in (path, together[name])
            )
            assert np.abs(one - other).mean() < 0.5, name  # values on the edge of a level, by JPEG
        elif path.suffix in (".png", ".html", ".jpg"):
            assert path.read_bytes() == together[name].read_bytes(), name


def test_key_frame_synthesis_runs_sequences_one_after_another(trained: Path) -> None:
    alone, together = (
        files(made(trained, f"--use_real_img --keyframes 2{more}"))
        for more in ("", " --batch_sequences 3")
    )
    assert alone.keys() == together.keys()
    assert all(path.read_bytes() == together[name].read_bytes() for name, path in alone.items())
