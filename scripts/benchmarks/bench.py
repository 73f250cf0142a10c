"""Speed of synthesis and training against the reference implementation: `python -m scripts.benchmarks.bench`.

The reference implementation (scripts/benchmarks/reference_implementation.py) executes the same
networks as the public release does. Both run in turn in this process, and their results are
compared. Weights are random and frames synthetic, unless --name selects a trained run.
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
    count_parameters,
    load_trained_case,
    make_benchmark_data,
    make_random_case,
)
from scripts.benchmarks.frame_profile import time_frame_parts
from scripts.benchmarks.macs import count_frame_macs
from scripts.benchmarks.scaling import format_scaling, measure_scaling, plot_scaling
from scripts.benchmarks.synthesis import get_frame_size, measure_synthesis
from scripts.benchmarks.timing import DeviceLimits, measure_device_limits
from scripts.benchmarks.training import make_training_options, measure_training
from util.distributed import DeviceConfig, setup_devices
from util.distributed.amp import AMP_DTYPES
from util.errors import exit_on_user_error

_FRAMES_PER_ROUND = 3
_BENCHMARK_NAMES = ("synthesis", "parts", "training", "growth")
_DEFAULT_BENCHMARKS = ("synthesis", "parts", "training")


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", choices=MODE_FLAGS, default="street", help="default: street")
    parser.add_argument(
        "--size",
        type=FrameSize.parse,
        metavar="WxH",
        help="size of the generated frames; default: the published size of the mode",
    )
    parser.add_argument(
        "--ngf",
        type=int,
        help="width of the generator; default: 128 on a GPU (as published), 32 on a CPU",
    )
    parser.add_argument(
        "--what",
        nargs="+",
        choices=_BENCHMARK_NAMES,
        default=_DEFAULT_BENCHMARKS,
        help="synthesis: time per frame. parts: time per frame by part of the network. training: "
        "time per step. growth: time and memory by length, size and number of videos. "
        "Default: all but growth",
    )
    parser.add_argument(
        "--amp",
        nargs="+",
        choices=("off", *AMP_DTYPES),
        default=["off", "bf16"],
        help="precisions of synthesis; default: off bf16",
    )
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; default: 3")
    parser.add_argument(
        "--flownet2",
        action="store_true",
        help="train with the flow of a FlowNet2 with random weights; the reference implementation "
        "estimates it at every step, the program reads it from the cache. Default: no flow",
    )
    parser.add_argument("--gpu_ids", help="as in train.py")
    parser.add_argument(
        "--name", type=Path, metavar="DIR", help="folder of a trained run to load weights from"
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        default=Path("results/growth.png"),
        help="where to save the plot of growth; default: results/growth.png",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results to FILE")
    return parser.parse_args()


def main() -> None:
    """Run the selected benchmarks and print their tables."""
    args = _parse_args()
    device = setup_devices(DeviceConfig(args.gpu_ids)).device
    size = args.size or FrameSize(*PUBLISHED_SIZES[args.mode])
    ngf = args.ngf or (128 if device.type == "cuda" else 32)
    dtypes = {"off": torch.float32}
    dtypes |= {name: AMP_DTYPES[name] for name in args.amp if name != "off"}
    limits = measure_device_limits(device, dtypes)
    results: dict[str, object] = {
        "machine": describe_machine(device),
        "limits": limits,
        "mode": args.mode,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        n_frames = _FRAMES_PER_ROUND + 2
        data = make_benchmark_data(args.mode, size, folder, n_sequences=1, n_frames=n_frames)
        if args.name:
            case = load_trained_case(args.name, data, device)
        else:
            case = make_random_case(args.mode, size, ngf, data, device)
        results |= print_case(args.mode, case, limits)
        if "synthesis" in args.what:
            rows = measure_synthesis(
                case, args.amp, _FRAMES_PER_ROUND, args.rounds, limits, folder / "videos"
            )
            print_rows("synthesis, one frame", rows)
            results["synthesis"] = rows
        if "parts" in args.what:
            results["parts"] = run_parts(case, folder)
        if "training" in args.what:
            results["training"] = run_training(args, size, ngf, data, device, limits)
        if "growth" in args.what:
            curves = measure_scaling(args.mode, ngf, folder, device, args.rounds)
            plot_scaling(curves, args.plot)
            print(f"\n{format_scaling(curves)}\nplot: {args.plot}")
            results["growth"] = curves
    if args.json:
        report.write_benchmark_json(args.json, results)


def run_parts(case: BenchmarkCase, folder: Path) -> dict[str, float]:
    """Measure and print the time per frame by part; return it in seconds."""
    parts = time_frame_parts(case, _FRAMES_PER_ROUND - 1, folder / "written")
    listed = ", ".join(f"{part} {1000 * seconds:.1f} ms" for part, seconds in parts.items())
    print(f"\ntime per frame by part (float32, from files to files, not overlapped): {listed}")
    return parts


def run_training(
    args: argparse.Namespace,
    size: FrameSize,
    ngf: int,
    data: Path,
    device: torch.device,
    limits: DeviceLimits,
) -> list[report.BenchmarkRow]:
    """Measure and print the training step."""
    device_flags = ["--gpu_ids", args.gpu_ids] if args.gpu_ids else []
    options = make_training_options(args.mode, size, ngf, data, device_flags)
    estimator = None
    if args.flownet2:
        estimator = FlowNet2Estimator(FlowNet2().requires_grad_(False).to(device))
    rows = measure_training(options, args.rounds, limits, estimator)
    flow = "with FlowNet2" if estimator else "without reference flow"
    print_rows(f"training, one step {flow}", rows)
    return rows


def describe_machine(device: torch.device) -> dict[str, str]:
    """Return the device, the number of threads and torch's version as text."""
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {
        "device": f"{device} ({name})",
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
    }


def print_case(mode: str, case: BenchmarkCase, limits: DeviceLimits) -> dict[str, object]:
    """Print what is measured on which machine; return the size and the counts."""
    config = case.generator_config
    size = get_frame_size(case.read_clips(1)[0])
    macs = count_frame_macs(config, size)
    n_parameters = count_parameters(case.networks)
    shares = ", ".join(f"{part} {count / 1e9:.1f}" for part, count in macs.items())
    print(
        f"{mode} {size[0]}x{size[1]}, ngf {config.width}, {config.n_scales} scale(s): "
        f"{n_parameters / 1e6:.1f} M parameters, {sum(macs.values()) / 1e9:.0f} GMAC per frame "
        f"({shares})"
    )
    machine = describe_machine(case.device)
    print(", ".join(machine.values()), report.format_limits(limits), sep="; ")
    return {"size": size, "ngf": config.width, "parameters": n_parameters, "macs": macs}


def print_rows(title: str, rows: Sequence[report.BenchmarkRow]) -> None:
    """Print a titled table."""
    cells = [report.format_cells(row) for row in rows]
    table = report.format_markdown_table(report.BENCHMARK_COLUMNS, cells)
    print(f"\n{title}", table, sep="\n", flush=True)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
