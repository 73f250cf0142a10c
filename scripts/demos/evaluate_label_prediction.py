"""How good a label predictor is on held-out sequences, so many frames ahead, beside repeating the last label map."""

from __future__ import annotations

import argparse
from pathlib import Path

from data.inference_inputs import InputConfig, open_inference_inputs
from models.evaluation.label_prediction import ForecastScores, evaluate_forecast
from options import configs
from options.from_checkpoint import load_label_predictor
from options.opt_file import load_training_options
from util.distributed import DeviceConfig, setup_devices
from util.errors import exit_on_user_error


def format_forecast_table(scores: ForecastScores) -> str:
    """A row for each frame ahead, then all of them: mean IoU and accuracy, predicted and repeated."""
    lines = [
        "| frames ahead | mIoU predicted | repeated | pixels right, predicted | repeated |",
        "|---|---|---|---|---|",
    ]
    rows = [
        (str(ahead + 1), slice(ahead, ahead + 1)) for ahead in range(len(scores.predicted_counts))
    ]
    for title, ahead in [*rows, ("all", slice(None))]:
        figures = scores.compute_metrics(ahead)
        lines.append(
            f"| {title} | {figures['mean_iou']:.3f} | {figures['mean_iou_repeated']:.3f} "
            f"| {figures['accuracy']:.3f} | {figures['accuracy_repeated']:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run of --model future_labels")
    parser.add_argument("--dataroot", type=Path, help="default: that of the run")
    parser.add_argument("--phase", default="test", help="prefix of the data's folders")
    parser.add_argument("--frames", type=int, default=10, help="how far ahead")
    parser.add_argument("--gpu_ids", help="as in train.py")
    args = parser.parse_args()
    options, device = (
        load_training_options(args.run, "future_labels", "RUN"),
        setup_devices(DeviceConfig(args.gpu_ids)).device,
    )
    data = InputConfig(args.dataroot or options.dataroot, args.phase)
    readers = open_inference_inputs(
        data,
        configs.build_frame_reader(options),
        configs.inference_transform_config(options),
        1,
        args.run,
    )
    predictor = load_label_predictor(args.run, options.label_nc, device)
    sequences = [reader for _, reader, _ in readers.sequences]
    print(format_forecast_table(evaluate_forecast(predictor, sequences, args.frames, device)))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
