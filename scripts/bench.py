"""Speed of synthesis and of the training step, beside the plain way and the device's limit: `python -m scripts.bench`.

The plain way (`scripts/plain_way.py`) executes the same networks as the public release does; it and the program work in
turn in this process, and what they make is compared. Weights are drawn and frames are toys, unless --name gives a run.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from models.flow.flownet2 import FlowNet2
from models.flow.flownet2_reference import FlowNet2Reference
from scripts.benchmark import report
from scripts.benchmark.arithmetic import frame_arithmetic, parameters
from scripts.benchmark.clock import Limits, limits
from scripts.benchmark.growth import measure_growth, plot, told
from scripts.benchmark.parts import time_by_part
from scripts.benchmark.subject import MODES, PUBLISHED_SIZES, Size, Subject, drawn_subject, toy_frames, trained_subject
from scripts.benchmark.synthesis import generated_size, measure_synthesis
from scripts.benchmark.training import measure_training, training_options
from util.errors import reported
from util.placement import PlacementConfig, place
from util.placement.precision import HALF

FRAMES = 3  # of a round
MEASURES = ("synthesis", "parts", "training", "growth")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=MODES, default="street")
    parser.add_argument("--size", type=Size.of, metavar="WxH", help="of the generated pictures; default: the published")
    parser.add_argument("--ngf", type=int, help="default: 128 as published, on a CPU 32")
    parser.add_argument("--what", nargs="+", choices=MEASURES, default=MEASURES[:3],
                        help="parts: of a frame's time, from files to files; growth: cost against length, size "
                             "and number of videos (default: the others)")
    parser.add_argument("--amp", nargs="+", choices=("off", *HALF), default=["off", "bf16"], help="of synthesis")
    parser.add_argument("--rounds", type=int, default=3, help="each way has its turn in each")
    parser.add_argument("--flownet2", action="store_true",
                        help="train with FlowNet2's flow (drawn weights): the plain way estimates it at every step, "
                             "the program has it cached; default: no flow for either")
    parser.add_argument("--gpu_ids", help="as of train.py")
    parser.add_argument("--name", type=Path, metavar="DIR", help="folder of a trained run, instead of drawn weights")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", default=Path("results/growth.png"), help="of growth")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything measured")
    return parser.parse_args()


def main() -> None:
    args = parsed()
    device = place(PlacementConfig(args.gpu_ids)).device
    size = args.size or Size(*PUBLISHED_SIZES[args.mode])
    ngf = args.ngf or (128 if device.type == "cuda" else 32)
    found: dict[str, object] = {"machine": machine(device)}
    can = limits(device, {"off": torch.float32} | {name: HALF[name] for name in args.amp if name != "off"})
    with tempfile.TemporaryDirectory() as folder:
        data = toy_frames(args.mode, size, Path(folder), sequences=1, frames=FRAMES + 2)
        subject = (trained_subject(args.name, data, device) if args.name else
                   drawn_subject(args.mode, size, ngf, data, device))
        found |= {"limits": can, "mode": args.mode} | introduce(args.mode, subject, can)
        if "synthesis" in args.what:
            found["synthesis"] = rows = measure_synthesis(subject, args.amp, FRAMES, args.rounds, can,
                                                          Path(folder) / "videos")
            tell("synthesis, one frame", rows)
        if "parts" in args.what:
            found["parts"] = parts = time_by_part(subject, FRAMES - 1, Path(folder) / "written")
            print("\nwhere a frame's time goes (float32, files to files, nothing at the same time): "
                  + ", ".join(f"{part} {1000 * seconds:.1f} ms" for part, seconds in parts.items()))
        if "training" in args.what:
            options = training_options(args.mode, size, ngf, data, ["--gpu_ids", args.gpu_ids] if args.gpu_ids else [])
            teacher = FlowNet2Reference(FlowNet2().requires_grad_(False).to(device)) if args.flownet2 else None
            found["training"] = rows = measure_training(options, args.rounds, can, teacher)
            tell(f"training, one step {'with FlowNet2' if teacher else 'without reference flow'}", rows)
        if "growth" in args.what:
            found["growth"] = growth = measure_growth(args.mode, ngf, Path(folder), device, args.rounds)
            plot(growth, args.plot)
            print(f"\n{told(growth)}; drawn in {args.plot}")
    if args.json:
        report.write_json(args.json, found)


def machine(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": f"{device} ({name})", "threads": str(torch.get_num_threads()), "torch": torch.__version__}


def introduce(mode: str, subject: Subject, can: Limits) -> dict[str, object]:
    """Tells what is measured, and where."""
    config, size = subject.config, generated_size(subject.clips(1)[0])
    arithmetic, count = frame_arithmetic(config, size), parameters(subject.networks)
    shares = ", ".join(f"{part} {macs / 1e9:.1f}" for part, macs in arithmetic.items())
    print(f"{mode} {size[0]}x{size[1]}, ngf {config.width}, {config.n_scales} scale(s): {count / 1e6:.1f} M "
          f"parameters, {sum(arithmetic.values()) / 1e9:.0f} GMAC a frame ({shares})")
    print(", ".join(machine(subject.device).values()), report.told(can), sep="; ")
    return {"size": size, "ngf": config.width, "parameters": count, "macs": arithmetic}


def tell(title: str, rows: Sequence[report.Row]) -> None:
    print(f"\n{title}", report.table(report.HEADS, list(map(report.cells, rows))), sep="\n", flush=True)


if __name__ == "__main__":
    with reported():
        main()
