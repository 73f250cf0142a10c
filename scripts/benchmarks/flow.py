"""Accuracy and speed of the flow estimators: `python -m scripts.benchmarks.flow --flow_net dis`.

Photographs (of scikit-image) are moved by known affine maps; synthetic street scenes
(scripts/make_toy_data.py) come with their flow. The end-point error is the mean distance in pixels
to the true vectors, over the pixels that are visible in both images. Times are the fastest of
several runs on one pair.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from skimage import data as photographs
from skimage import transform
from torch import Tensor

from data.image_io import read_image
from data.synthetic import make_toy_data
from models.flow import FlowConfig, FlowEstimator, build_flow_estimator
from models.flow.build import FLOW_NETS
from scripts.benchmarks.report import format_markdown_table
from scripts.benchmarks.timing import peak_memory_gib
from util.distributed import DeviceConfig, setup_devices
from util.errors import exit_on_user_error

FLOW_BENCHMARK_SIZES = ((512, 256), (1024, 512))  # width, height; ascending, see measure_flow_rows
_PHOTOGRAPHS: tuple[Callable[[], np.ndarray], ...] = (
    photographs.astronaut,
    photographs.coffee,
    photographs.chelsea,
)
# Zoom, rotation in degrees, shift relative to the width: from typical motion between two frames
# to more than that.
CAMERA_MOTIONS = {
    "slow": (1.005, 0.3, (0.004, 0.002)),
    "fast": (1.02, 1.0, (0.015, -0.01)),
    "faster": (0.95, -3.0, (-0.04, 0.02)),
}
_SYNTHETIC_SCENE = "synthetic street"


@dataclass(frozen=True)
class GroundTruthPair:
    """Two images with their true flow.

    Attributes:
        current: (3, H, W) in [-1, 1].
        previous: (3, H, W) in [-1, 1].
        flow: (2, H, W), from current to previous, in pixels.
        visible: (H, W) bool, where previous shows the same point.
    """

    current: Tensor
    previous: Tensor
    flow: Tensor
    visible: Tensor


def warp_photograph(
    photograph: np.ndarray, size: tuple[int, int], motion: tuple[float, float, tuple[float, float]]
) -> GroundTruthPair:
    """Move a photograph by an affine map about its center.

    scikit-image moves the image, so that the conventions of this program are not involved.
    """
    width, height = size
    zoom, degrees, shift = motion
    previous = transform.resize(photograph, (height, width), anti_aliasing=True)
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    to_previous = (
        transform.AffineTransform(translation=-center)
        + transform.AffineTransform(scale=zoom, rotation=np.deg2rad(degrees))
        + transform.AffineTransform(translation=center + np.array(shift) * width)
    )
    current = transform.warp(previous, to_previous, order=3, mode="edge")
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    points = grid.reshape(-1, 2)
    flow = (to_previous(points) - points).reshape(height, width, 2).transpose(2, 0, 1)
    target = grid.transpose(2, 0, 1) + flow
    visible = (target >= 0).all(0) & (target[0] <= width - 1) & (target[1] <= height - 1)
    return GroundTruthPair(
        _image_to_tensor(current),
        _image_to_tensor(previous),
        torch.from_numpy(flow).float(),
        torch.from_numpy(visible),
    )


def _image_to_tensor(image: np.ndarray) -> Tensor:
    """Convert (H, W, 3) in [0, 1] to (3, H, W) in [-1, 1], rounded to 8 bits as in a file."""
    return torch.from_numpy(image.transpose(2, 0, 1).clip(0, 1) * 255).round().float() / 127.5 - 1


def iter_synthetic_pairs(size: tuple[int, int]) -> Iterator[GroundTruthPair]:
    """Yield neighboring frames of synthetic street scenes."""
    with tempfile.TemporaryDirectory() as folder:
        root = make_toy_data("street", Path(folder), sequences=2, frames=4, size=size)
        for sequence in sorted((root / "train_B").iterdir()):
            frames = sorted(sequence.iterdir())
            for previous, current in zip(frames, frames[1:], strict=False):
                truth = np.load(root / "train_flow" / sequence.name / f"{current.stem}.npz")
                yield GroundTruthPair(
                    read_image(current),
                    read_image(previous),
                    torch.from_numpy(truth["flow"]),
                    torch.from_numpy(truth["visible"]),
                )


def compute_end_point_error(
    estimator: FlowEstimator, pairs: Sequence[GroundTruthPair], device: torch.device
) -> float:
    """Return the mean end-point error of the pairs in pixels."""
    errors = []
    for pair in pairs:
        current, previous = pair.current[None].to(device), pair.previous[None].to(device)
        flow = estimator.estimate(current, previous)[0].cpu()
        distance = (flow - pair.flow).norm(dim=0)
        errors.append(distance[pair.visible].mean().item())
    return float(np.mean(errors))


def measure_milliseconds(
    estimator: FlowEstimator, pair: GroundTruthPair, device: torch.device, n_runs: int = 3
) -> float:
    """Return the milliseconds of the fastest of `n_runs` estimates, after one to warm up."""
    current, previous = pair.current[None].to(device), pair.previous[None].to(device)
    times = []
    for _ in range(n_runs + 1):
        start = time.perf_counter()
        estimator.estimate(current, previous).cpu()  # waits for the device
        times.append(time.perf_counter() - start)
    return 1000 * min(times[1:])


def measure_flow_rows(
    estimator: FlowEstimator, device: torch.device
) -> Iterator[tuple[object, ...]]:
    """Yield one row of the table for each size.

    Sizes ascend, because the peak memory of a process never falls.
    """
    for size in FLOW_BENCHMARK_SIZES:
        pairs_by_motion = {
            name: [warp_photograph(photograph(), size, motion) for photograph in _PHOTOGRAPHS]
            for name, motion in CAMERA_MOTIONS.items()
        }
        pairs_by_motion[_SYNTHETIC_SCENE] = list(iter_synthetic_pairs(size))
        milliseconds = measure_milliseconds(estimator, pairs_by_motion["slow"][0], device)
        errors = [
            compute_end_point_error(estimator, pairs, device) for pairs in pairs_by_motion.values()
        ]
        yield (
            estimator.name,
            device,
            f"{size[0]}x{size[1]}",
            *(f"{error:.2f}" for error in errors),
            f"{milliseconds:.0f}",
            f"{1024 * peak_memory_gib(device):.0f}",
        )


def main() -> None:
    """Parse the arguments and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--flow_net",
        nargs="+",
        default=["dis"],
        choices=FLOW_NETS,
        help="estimators to measure; the errors of `none` are the lengths of the true vectors",
    )
    parser.add_argument(
        "--flownet2_checkpoint", type=Path, default=FlowConfig.flownet2_checkpoint, metavar="PATH"
    )
    parser.add_argument("--raft_weights", type=Path, metavar="PATH")
    parser.add_argument("--gpu_ids", help="as in train.py")
    args = parser.parse_args()
    device = setup_devices(DeviceConfig(args.gpu_ids)).device
    errors = [f"error, {name}" for name in (*CAMERA_MOTIONS, _SYNTHETIC_SCENE)]
    rows = []
    for name in args.flow_net:
        config = FlowConfig(name, args.flownet2_checkpoint, args.raft_weights)
        estimator, _ = build_flow_estimator(config, device)
        rows += [tuple(map(str, row)) for row in measure_flow_rows(estimator, device)]
    header = ("flow", "device", "size", *errors, "ms", "peak MiB")
    print(format_markdown_table(header, rows))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
