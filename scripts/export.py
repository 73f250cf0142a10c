"""Export one synthesis step for other programs, as ONNX or for torch.export.

python scripts/export.py --run checkpoints/NAME --size 256x128 --to step.onnx

A run with `--no_first_img` has a different first step, in step_first.onnx.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from models.inference.export import (
    build_exportable_generators,
    compute_onnx_error,
    export_onnx,
    export_program,
    make_example_inputs,
)
from options import configs
from options.build_inference import load_synthesizer
from options.from_checkpoint import load_run_options
from options.test import frame_size
from util.errors import UserError, exit_on_user_error


def build_export_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's flags; others are those of test.py."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run", type=Path, required=True, help="folder of the run: checkpoints/NAME"
    )
    parser.add_argument(
        "--size", type=frame_size, required=True, metavar="WxH", help="size of the frames"
    )
    parser.add_argument(
        "--to", type=Path, required=True, help="file to write: .onnx, or .pt2 for torch.export"
    )
    return parser


def main() -> None:
    """Export the steps of a run."""
    args, test_flags = build_export_parser().parse_known_args()
    if args.to.suffix not in (".onnx", ".pt2"):
        raise UserError(f"--to {args.to}: expected a file that ends in .onnx or .pt2")
    opt = load_run_options(args.run, "--gpu_ids", "-1", *test_flags)
    synthesizer = load_synthesizer(opt)
    n_channels = configs.generator_config(opt).condition_channels
    example = make_example_inputs(synthesizer, n_channels, args.size)
    for suffix, module in build_exportable_generators(synthesizer).items():
        path = args.to.with_stem(args.to.stem + suffix)
        if path.suffix == ".pt2":
            export_program(module, example, path)
        else:
            export_onnx(module, example, path)
            error = compute_onnx_error(module, path, synthesizer, example)
            print(f"largest difference between onnxruntime and PyTorch: {error:.1e}")
        input_names, _ = module.get_io_names()
        shapes = [f"{name} {tuple(x.shape)}" for name, x in zip(input_names, example, strict=True)]
        print(f"{path}: {', '.join(shapes)}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
