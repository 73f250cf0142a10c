"""Accuracy of a label predictor on held-out sequences, next to repeating the last label map."""

from __future__ import annotations

import argparse
from pathlib import Path

from tabulate import tabulate

from data.inference_inputs import InputConfig, open_inference_inputs
from models.evaluation.label_prediction import ForecastScores, evaluate_forecast
from options import configs
from options.from_checkpoint import load_label_predictor
from options.opt_file import load_training_options
from util.distributed import DeviceConfig, setup_devices
from util.errors import exit_on_user_error

_METRICS = ("mean_iou", "mean_iou_repeated", "accuracy", "accuracy_repeated")
_COLUMNS = (
    "frames ahead",
    "mIoU, predicted",
    "mIoU, repeated",
    "pixel accuracy, predicted",
    "pixel accuracy, repeated",
)


def format_forecast_table(scores: ForecastScores) -> str:
    """Format a row for each number of frames ahead, then one for all of them."""
    n_frames = len(scores.predicted_counts)
    slices = {str(i + 1): slice(i, i + 1) for i in range(n_frames)}
    slices["all"] = slice(None)
    rows = []
    for title, frames in slices.items():
        metrics = scores.compute_metrics(frames)
        rows.append((title, *(f"{metrics[name]:.3f}" for name in _METRICS)))
    return tabulate(rows, _COLUMNS, tablefmt="github", disable_numparse=True)


def main() -> None:
    """Evaluate the predictor and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run with --model future_labels")
    parser.add_argument("--dataroot", type=Path, help="data root; default: that of the run")
    parser.add_argument("--phase", default="test", help="prefix of the data's folders")
    parser.add_argument("--frames", type=int, default=10, help="frames to predict; default: 10")
    parser.add_argument("--gpu_ids", help="as in train.py")
    args = parser.parse_args()
    options = load_training_options(args.run, "future_labels", "RUN")
    device = setup_devices(DeviceConfig(args.gpu_ids)).device
    inputs = open_inference_inputs(
        InputConfig(args.dataroot or options.dataroot, args.phase),
        configs.build_frame_reader(options),
        configs.inference_transform_config(options),
        1,
        args.run,
    )
    predictor = load_label_predictor(args.run, options.label_nc, device)
    sequences = [reader for _, reader, _ in inputs.sequences]
    print(format_forecast_table(evaluate_forecast(predictor, sequences, args.frames, device)))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
