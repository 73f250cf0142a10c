"""How good a label predictor is on held-out sequences, so many frames ahead, beside repeating the last label map."""

from __future__ import annotations

import argparse
from pathlib import Path

from data.inputs import InputConfig, open_input
from models.future_evaluation import Foresight, measure_foresight
from options import configs
from options.loading import load_predictor
from options.stored import trained_options
from util.errors import reported
from util.placement import PlacementConfig, place


def table(found: Foresight) -> str:
    """A row for each frame ahead, then all of them: mean IoU and accuracy, predicted and repeated."""
    lines = ["| frames ahead | mIoU predicted | repeated | pixels right, predicted | repeated |",
             "|---|---|---|---|---|"]
    rows = [(str(ahead + 1), slice(ahead, ahead + 1)) for ahead in range(len(found.predicted))]
    for title, ahead in [*rows, ("all", slice(None))]:
        figures = found.figures(ahead)
        lines.append(f"| {title} | {figures['mean_iou']:.3f} | {figures['mean_iou_repeated']:.3f} "
                     f"| {figures['accuracy']:.3f} | {figures['accuracy_repeated']:.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run of --model future_labels")
    parser.add_argument("--dataroot", type=Path, help="default: that of the run")
    parser.add_argument("--phase", default="test", help="prefix of the data's folders")
    parser.add_argument("--frames", type=int, default=10, help="how far ahead")
    parser.add_argument("--gpu_ids", help="as in train.py")
    args = parser.parse_args()
    options, device = trained_options(args.run, "future_labels", "RUN"), place(PlacementConfig(args.gpu_ids)).device
    data = InputConfig(args.dataroot or options.dataroot, args.phase)
    readers = open_input(data, configs.domain(options), configs.test_geometry(options), 1, args.run)
    predictor = load_predictor(args.run, options.label_nc, device)
    sequences = [reader for _, reader, _ in readers.sequences]
    print(table(measure_foresight(predictor, sequences, args.frames, device)))


if __name__ == "__main__":
    with reported():
        main()
