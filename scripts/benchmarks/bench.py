"""Speed of synthesis and of the training step, beside the plain way and the device's limit: `python -m scripts.benchmarks.bench`.

The plain way (`scripts/benchmarks/reference_implementation.py`) executes the same networks as the public release does; it and the program work in
turn in this process, and what they make is compared. Weights are drawn and frames are toys, unless --name gives a run.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from models.flow.flownet2 import FlowNet2, FlowNet2Estimator
from scripts.benchmarks import report
from scripts.benchmarks.case import (
    MODE_FLAGS,
    PUBLISHED_SIZES,
    BenchmarkCase,
    FrameSize,
    load_trained_case,
    make_benchmark_data,
    make_random_case,
)
from scripts.benchmarks.frame_profile import time_frame_parts
from scripts.benchmarks.macs import count_frame_macs, count_parameters
from scripts.benchmarks.scaling import format_scaling, measure_scaling, plot_scaling
from scripts.benchmarks.synthesis import get_frame_size, measure_synthesis
from scripts.benchmarks.timing import DeviceLimits, measure_device_limits
from scripts.benchmarks.training import make_training_options, measure_training
from util.distributed import DeviceConfig, setup_devices
from util.distributed.amp import AMP_DTYPES
from util.errors import exit_on_user_error

_FRAMES_PER_ROUND = 3  # of a round
_BENCHMARK_NAMES = ("synthesis", "parts", "training", "growth")


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", choices=MODE_FLAGS, default="street")
    parser.add_argument(
        "--size",
        type=FrameSize.parse,
        metavar="WxH",
        help="of the generated images; default: the published",
    )
    parser.add_argument("--ngf", type=int, help="default: 128 as published, on a CPU 32")
    parser.add_argument(
        "--what",
        nargs="+",
        choices=_BENCHMARK_NAMES,
        default=_BENCHMARK_NAMES[:3],
        help="parts: of a frame's time, from files to files; growth: cost against length, size "
        "and number of videos (default: the others)",
    )
    parser.add_argument(
        "--amp",
        nargs="+",
        choices=("off", *AMP_DTYPES),
        default=["off", "bf16"],
        help="of synthesis",
    )
    parser.add_argument("--rounds", type=int, default=3, help="each way has its turn in each")
    parser.add_argument(
        "--flownet2",
        action="store_true",
        help="train with FlowNet2's flow (drawn weights): the plain way estimates it at every step, "
        "the program has it cached; default: no flow for either",
    )
    parser.add_argument("--gpu_ids", help="as of train.py")
    parser.add_argument(
        "--name", type=Path, metavar="DIR", help="folder of a trained run, instead of drawn weights"
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        default=Path("results/growth.png"),
        help="of growth",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything measured")
    return parser.parse_args()


def main() -> None:
    args = _parse_args()
    device = setup_devices(DeviceConfig(args.gpu_ids)).device
    size = args.size or FrameSize(*PUBLISHED_SIZES[args.mode])
    ngf = args.ngf or (128 if device.type == "cuda" else 32)
    found: dict[str, object] = {"machine": describe_machine(device)}
    can = measure_device_limits(
        device,
        {"off": torch.float32} | {name: AMP_DTYPES[name] for name in args.amp if name != "off"},
    )
    with tempfile.TemporaryDirectory() as folder:
        data = make_benchmark_data(
            args.mode, size, Path(folder), n_sequences=1, n_frames=_FRAMES_PER_ROUND + 2
        )
        subject = (
            load_trained_case(args.name, data, device)
            if args.name
            else make_random_case(args.mode, size, ngf, data, device)
        )
        found |= {"limits": can, "mode": args.mode} | print_case(args.mode, subject, can)
        if "synthesis" in args.what:
            found["synthesis"] = rows = measure_synthesis(
                subject, args.amp, _FRAMES_PER_ROUND, args.rounds, can, Path(folder) / "videos"
            )
            print_rows("synthesis, one frame", rows)
        if "parts" in args.what:
            found["parts"] = parts = time_frame_parts(
                subject, _FRAMES_PER_ROUND - 1, Path(folder) / "written"
            )
            print(
                "\nwhere a frame's time goes (float32, files to files, nothing at the same time): "
                + ", ".join(f"{part} {1000 * seconds:.1f} ms" for part, seconds in parts.items())
            )
        if "training" in args.what:
            options = make_training_options(
                args.mode, size, ngf, data, ["--gpu_ids", args.gpu_ids] if args.gpu_ids else []
            )
            teacher = (
                FlowNet2Estimator(FlowNet2().requires_grad_(False).to(device))
                if args.flownet2
                else None
            )
            found["training"] = rows = measure_training(options, args.rounds, can, teacher)
            print_rows(
                f"training, one step {'with FlowNet2' if teacher else 'without reference flow'}",
                rows,
            )
        if "growth" in args.what:
            found["growth"] = growth = measure_scaling(
                args.mode, ngf, Path(folder), device, args.rounds
            )
            plot_scaling(growth, args.plot)
            print(f"\n{format_scaling(growth)}; drawn in {args.plot}")
    if args.json:
        report.write_benchmark_json(args.json, found)


def describe_machine(device: torch.device) -> dict[str, str]:
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "device": f"{device} ({name})",
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
    }


def print_case(mode: str, case: BenchmarkCase, limits: DeviceLimits) -> dict[str, object]:
    """Tells what is measured, and where."""
    config, size = case.generator_config, get_frame_size(case.read_clips(1)[0])
    arithmetic, count = count_frame_macs(config, size), count_parameters(case.networks)
    shares = ", ".join(f"{part} {macs / 1e9:.1f}" for part, macs in arithmetic.items())
    print(
        f"{mode} {size[0]}x{size[1]}, ngf {config.width}, {config.n_scales} scale(s): {count / 1e6:.1f} M "
        f"parameters, {sum(arithmetic.values()) / 1e9:.0f} GMAC a frame ({shares})"
    )
    print(", ".join(describe_machine(case.device).values()), report.format_limits(limits), sep="; ")
    return {"size": size, "ngf": config.width, "parameters": count, "macs": arithmetic}


def print_rows(title: str, rows: Sequence[report.BenchmarkRow]) -> None:
    print(
        f"\n{title}",
        report.format_markdown_table(
            report.BENCHMARK_COLUMNS, list(map(report.format_cells, rows))
        ),
        sep="\n",
        flush=True,
    )


if __name__ == "__main__":
    with exit_on_user_error():
        main()
