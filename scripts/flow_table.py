"""How right and how fast the reference flows are, as a Markdown table: `python scripts/flow_table.py --flow_net dis`.

Photographs (scikit-image's) are moved by known affine maps, made-up street scenes (`scripts/make_toy_data.py`) move by
themselves; the end-point error is the mean distance in pixels to the true vectors, where the other picture shows the
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

from data.pictures import read_picture
from data.toy import make_toy_data
from models.flow import FlowConfig, ReferenceFlow, choose_flow
from models.flow.choice import FLOW_NETS
from util.errors import reported
from util.placement import PlacementConfig, place

SIZES = ((512, 256), (1024, 512))  # (w, h)
PHOTOGRAPHS: tuple[Callable[[], np.ndarray], ...] = (photographs.astronaut, photographs.coffee, photographs.chelsea)
MOVES = {  # zoom, degrees of rotation, shift as parts of the width: what a camera does between two frames, and more
    "slow": (1.005, 0.3, (0.004, 0.002)), "fast": (1.02, 1.0, (0.015, -0.01)), "faster": (0.95, -3.0, (-0.04, 0.02)),
}


@dataclass(frozen=True)
class KnownPair:
    """current, previous: (3, H, W) in [-1, 1]. flow: (2, H, W), the truth. visible: (H, W) bool, where previous shows
    the same point."""

    current: Tensor
    previous: Tensor
    flow: Tensor
    visible: Tensor


def moved_photograph(photograph: np.ndarray, size: tuple[int, int], move: tuple[float, float, tuple[float, float]]
                     ) -> KnownPair:
    """scikit-image moves the picture: none of our own conventions takes part in it."""
    width, height = size
    previous = transform.resize(photograph, (height, width), anti_aliasing=True)
    zoom, degrees, shift = move
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    there = (transform.AffineTransform(translation=-centre)
             + transform.AffineTransform(scale=zoom, rotation=np.deg2rad(degrees))
             + transform.AffineTransform(translation=centre + np.array(shift) * width))
    current = transform.warp(previous, there, order=3, mode="edge")
    points = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
    flow = (there(points) - points).reshape(height, width, 2).transpose(2, 0, 1)
    target = points.reshape(height, width, 2).transpose(2, 0, 1) + flow
    visible = (target >= 0).all(0) & (target[0] <= width - 1) & (target[1] <= height - 1)
    return KnownPair(_tensor(current), _tensor(previous), torch.from_numpy(flow).float(), torch.from_numpy(visible))


def _tensor(picture: np.ndarray) -> Tensor:
    """(H, W, 3) in [0, 1], on the 8-bit levels that a file would hold."""
    return torch.from_numpy(picture.transpose(2, 0, 1).clip(0, 1) * 255).round().float() / 127.5 - 1


def toy_pairs(size: tuple[int, int]) -> Iterator[KnownPair]:
    """Neighbours of made-up street scenes."""
    with tempfile.TemporaryDirectory() as folder:
        root = make_toy_data("street", Path(folder), sequences=2, frames=4, size=size)
        for sequence in sorted((root / "train_B").iterdir()):
            frames = sorted(sequence.iterdir())
            for previous, current in zip(frames, frames[1:], strict=False):
                truth = np.load(root / "train_flow" / sequence.name / f"{current.stem}.npz")
                yield KnownPair(read_picture(current), read_picture(previous), torch.from_numpy(truth["flow"]),
                                torch.from_numpy(truth["visible"]))


def end_point_error(reference: ReferenceFlow, pairs: Sequence[KnownPair], device: torch.device) -> float:
    """Mean over the pairs, pixels."""
    errors = []
    for pair in pairs:
        flow = reference.vectors(pair.current[None].to(device), pair.previous[None].to(device))[0].cpu()
        errors.append((flow - pair.flow).norm(dim=0)[pair.visible].mean().item())
    return float(np.mean(errors))


def milliseconds(reference: ReferenceFlow, pair: KnownPair, device: torch.device, runs: int = 3) -> float:
    current, previous = pair.current[None].to(device), pair.previous[None].to(device)
    times = []
    for _ in range(runs + 1):  # the first one warms up
        began = time.perf_counter()
        reference.vectors(current, previous).cpu()  # waits for the device
        times.append(time.perf_counter() - began)
    return 1000 * min(times[1:])


def peak_megabytes(device: torch.device) -> float:
    """Of the GPU's tensors, or of the process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def rows(reference: ReferenceFlow, device: torch.device) -> Iterator[tuple[object, ...]]:
    for size in SIZES:  # the small one first: a process's peak never falls
        moved = {name: [moved_photograph(photograph(), size, move) for photograph in PHOTOGRAPHS]
                 for name, move in MOVES.items()} | {"toy street": list(toy_pairs(size))}
        fastest = milliseconds(reference, moved["slow"][0], device)
        errors = [end_point_error(reference, pairs, device) for pairs in moved.values()]
        shown = "{}x{}".format(*size)
        yield reference.name, device, shown, *(f"{error:.2f}" for error in errors), f"{fastest:.0f}", \
            f"{peak_megabytes(device):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flow_net", nargs="+", default=["dis"], choices=FLOW_NETS,
                        help="two lines of the table each; `none` shows how far the pictures move")
    parser.add_argument("--flownet2_checkpoint", type=Path, default=FlowConfig.flownet2_checkpoint, metavar="PATH")
    parser.add_argument("--raft_weights", type=Path, metavar="PATH")
    parser.add_argument("--gpu_ids", help="as of train.py")
    args = parser.parse_args()
    device = place(PlacementConfig(args.gpu_ids)).device
    head = ("flow", "device", "size", *(f"error, {name}" for name in (*MOVES, "toy street")), "ms", "peak MiB")
    print("|".join(["", *head, ""]), "|".join(["", *["---"] * len(head), ""]), sep="\n")
    for name in args.flow_net:
        reference, _ = choose_flow(FlowConfig(name, args.flownet2_checkpoint, args.raft_weights), device)
        for row in rows(reference, device):
            print("|".join(["", *map(str, row), ""]), flush=True)


if __name__ == "__main__":
    with reported():
        main()
