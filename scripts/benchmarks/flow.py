"""How right and how fast the reference flows are, as a Markdown table: `python scripts/benchmarks/flow.py --flow_net dis`.

Photographs (scikit-image's) are moved by known affine maps, made-up street scenes (`scripts/make_toy_data.py`) move by
themselves; the end-point error is the mean distance in pixels to the true vectors, where the other image shows the
same point. Times are the fastest of several runs of one pair.
"""

from __future__ import annotations

import argparse
import resource
import sys
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
from util.distributed import DeviceConfig, setup_devices
from util.errors import exit_on_user_error

FLOW_BENCHMARK_SIZES = ((512, 256), (1024, 512))  # (w, h)
_PHOTOGRAPHS: tuple[Callable[[], np.ndarray], ...] = (
    photographs.astronaut,
    photographs.coffee,
    photographs.chelsea,
)
CAMERA_MOTIONS = {  # zoom, degrees of rotation, shift as parts of the width: what a camera does between two frames, and more
    "slow": (1.005, 0.3, (0.004, 0.002)),
    "fast": (1.02, 1.0, (0.015, -0.01)),
    "faster": (0.95, -3.0, (-0.04, 0.02)),
}


@dataclass(frozen=True)
class GroundTruthPair:
    """current, previous: (3, H, W) in [-1, 1]. flow: (2, H, W), the truth. visible: (H, W) bool, where previous shows
    the same point."""

    current: Tensor
    previous: Tensor
    flow: Tensor
    visible: Tensor


def warp_photograph(
    photograph: np.ndarray, size: tuple[int, int], motion: tuple[float, float, tuple[float, float]]
) -> GroundTruthPair:
    """scikit-image moves the image: none of our own conventions takes part in it."""
    width, height = size
    previous = transform.resize(photograph, (height, width), anti_aliasing=True)
    zoom, degrees, shift = motion
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    there = (
        transform.AffineTransform(translation=-centre)
        + transform.AffineTransform(scale=zoom, rotation=np.deg2rad(degrees))
        + transform.AffineTransform(translation=centre + np.array(shift) * width)
    )
    current = transform.warp(previous, there, order=3, mode="edge")
    points = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
    flow = (there(points) - points).reshape(height, width, 2).transpose(2, 0, 1)
    target = points.reshape(height, width, 2).transpose(2, 0, 1) + flow
    visible = (target >= 0).all(0) & (target[0] <= width - 1) & (target[1] <= height - 1)
    return GroundTruthPair(
        _image_to_tensor(current),
        _image_to_tensor(previous),
        torch.from_numpy(flow).float(),
        torch.from_numpy(visible),
    )


def _image_to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) in [0, 1], on the 8-bit levels that a file would hold."""
    return torch.from_numpy(image.transpose(2, 0, 1).clip(0, 1) * 255).round().float() / 127.5 - 1


def iter_synthetic_pairs(size: tuple[int, int]) -> Iterator[GroundTruthPair]:
    """Neighbours of made-up street scenes."""
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
    """Mean over the pairs, pixels."""
    errors = []
    for pair in pairs:
        flow = estimator.estimate(pair.current[None].to(device), pair.previous[None].to(device))[
            0
        ].cpu()
        errors.append((flow - pair.flow).norm(dim=0)[pair.visible].mean().item())
    return float(np.mean(errors))


def measure_milliseconds(
    estimator: FlowEstimator, pair: GroundTruthPair, device: torch.device, n_runs: int = 3
) -> float:
    current, previous = pair.current[None].to(device), pair.previous[None].to(device)
    times = []
    for _ in range(n_runs + 1):  # the first one warms up
        began = time.perf_counter()
        estimator.estimate(current, previous).cpu()  # waits for the device
        times.append(time.perf_counter() - began)
    return 1000 * min(times[1:])


def get_peak_memory_mib(device: torch.device) -> float:
    """Of the GPU's tensors, or of the process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def measure_flow_rows(
    estimator: FlowEstimator, device: torch.device
) -> Iterator[tuple[object, ...]]:
    for size in FLOW_BENCHMARK_SIZES:  # the small one first: a process's peak never falls
        moved = {
            name: [warp_photograph(photograph(), size, move) for photograph in _PHOTOGRAPHS]
            for name, move in CAMERA_MOTIONS.items()
        } | {"toy street": list(iter_synthetic_pairs(size))}
        fastest = measure_milliseconds(estimator, moved["slow"][0], device)
        errors = [compute_end_point_error(estimator, pairs, device) for pairs in moved.values()]
        shown = "{}x{}".format(*size)
        yield (
            estimator.name,
            device,
            shown,
            *(f"{error:.2f}" for error in errors),
            f"{fastest:.0f}",
            f"{get_peak_memory_mib(device):.0f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--flow_net",
        nargs="+",
        default=["dis"],
        choices=FLOW_NETS,
        help="two lines of the table each; `none` shows how far the images move",
    )
    parser.add_argument(
        "--flownet2_checkpoint", type=Path, default=FlowConfig.flownet2_checkpoint, metavar="PATH"
    )
    parser.add_argument("--raft_weights", type=Path, metavar="PATH")
    parser.add_argument("--gpu_ids", help="as of train.py")
    args = parser.parse_args()
    device = setup_devices(DeviceConfig(args.gpu_ids)).device
    head = (
        "flow",
        "device",
        "size",
        *(f"error, {name}" for name in (*CAMERA_MOTIONS, "toy street")),
        "ms",
        "peak MiB",
    )
    print("|".join(["", *head, ""]), "|".join(["", *["---"] * len(head), ""]), sep="\n")
    for name in args.flow_net:
        reference, _ = build_flow_estimator(
            FlowConfig(name, args.flownet2_checkpoint, args.raft_weights), device
        )
        for row in measure_flow_rows(reference, device):
            print("|".join(["", *map(str, row), ""]), flush=True)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
