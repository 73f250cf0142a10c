"""A frame's step for other programs: `python scripts/export.py --run checkpoints/NAME --size 256x128 --to step.onnx`.

Where a run begins with zeros, its first frame has a step of its own, in step_first.onnx.
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
from options.from_checkpoint import load_run_options, load_synthesizer
from options.test import frame_size
from util.errors import UserError, exit_on_user_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="checkpoints/NAME")
    parser.add_argument(
        "--size", type=frame_size, required=True, metavar="WxH", help="of the frames"
    )
    parser.add_argument(
        "--to", type=Path, required=True, help="a .onnx file, or .pt2 for torch.export's"
    )
    args, flags = parser.parse_known_args()
    if args.to.suffix not in (".onnx", ".pt2"):
        raise UserError(f"--to {args.to}: expected a file that ends in .onnx or .pt2")
    options = load_run_options(args.run, "--gpu_ids", "-1", *flags)
    painter = load_synthesizer(options)
    example = make_example_inputs(
        painter, configs.generator_config(options).condition_channels, args.size
    )
    for suffix, module in build_exportable_generators(painter).items():
        path = args.to.with_stem(args.to.stem + suffix)
        if path.suffix == ".pt2":
            export_program(module, example, path)
        else:
            export_onnx(module, example, path)
            print(
                f"onnxruntime differs from PyTorch by {compute_onnx_error(module, path, painter, example):.1e} at most"
            )
        shapes = [
            f"{name} {tuple(x.shape)}"
            for name, x in zip(module.get_io_names()[0], example, strict=True)
        ]
        print(f"{path}: {', '.join(shapes)}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
