"""PSNR of a single-image network's first images, next to that of the mean training image.

Takes the flags of test.py:
`python scripts/demos/evaluate_first_frame.py --name toy_street --single_G checkpoints/toy_street_single`
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from tabulate import tabulate

from data.dataset import SequenceReader
from data.sequences import find_sequences
from models.evaluation.metrics import psnr
from models.inference.first_frame import build_first_image_provider
from options import configs
from options.test import parse_test
from util.errors import exit_on_user_error
from util.images.visualization import tensor_to_image


def main() -> None:
    """Print a row for each test sequence."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _, flags = parser.parse_known_args()
    options = parse_test(flags)
    frame_reader = configs.build_frame_reader(options)
    transform = configs.transform_config(options)
    first_images, _ = build_first_image_provider(configs.first_frame_config(options))
    train, test = (
        find_sequences(options.dataroot, phase, frame_reader.folder_specs(uses_images=True))
        for phase in ("train", "test")
    )
    train_images = [
        tensor_to_image(clip.image[0, 0])
        for sequence in train
        for clip in SequenceReader(frame_reader, sequence, transform)
        if clip.image is not None
    ]
    mean_image = np.mean(train_images, axis=0).round().astype(np.uint8)
    rows = []
    for sequence in test:
        reader = SequenceReader(frame_reader, sequence, transform)
        clip = next(iter(reader)).to(torch.device("cpu"))
        assert clip.image is not None
        real = tensor_to_image(clip.image[0, 0])
        with torch.no_grad():
            fake = tensor_to_image(first_images([clip])[0, 0])
        rows.append((sequence.name, psnr(real, fake), psnr(real, mean_image)))
    header = ("sequence", "generated, PSNR dB", "mean image, PSNR dB")
    print(tabulate(rows, header, tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
