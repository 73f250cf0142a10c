"""How near a single-image network's first images are to the real ones, beside the mean training image.

Takes test.py's flags: python scripts/demos/evaluate_first_frame.py --name toy_street --single_G checkpoints/toy_street_single
"""

from __future__ import annotations

import numpy as np
import torch

from data.dataset import SequenceReader
from data.sequences import find_sequences
from models.evaluation.metrics import psnr
from models.inference.first_frame import build_first_image_provider
from options import configs
from options.test import parse_test
from util.errors import exit_on_user_error
from util.images.visualization import tensor_to_image


def main() -> None:
    options = parse_test()
    domain, geometry = configs.build_frame_reader(options), configs.transform_config(options)
    paint, _ = build_first_image_provider(configs.first_frame_config(options))
    train, test = (
        find_sequences(options.dataroot, phase, domain.folder_specs(uses_images=True))
        for phase in ("train", "test")
    )
    images = [
        tensor_to_image(clip.image[0, 0])
        for sequence in train
        for clip in SequenceReader(domain, sequence, geometry)
        if clip.image is not None
    ]
    mean = np.mean(images, axis=0).round().astype(np.uint8)
    print(f"{'sequence':>12}{'painted':>12}{'mean image':>16}")
    for sequence in test:
        clip = next(iter(SequenceReader(domain, sequence, geometry))).to(torch.device("cpu"))
        assert clip.image is not None
        with torch.no_grad():
            painted = tensor_to_image(paint([clip])[0, 0])
        real = tensor_to_image(clip.image[0, 0])
        print(f"{sequence.name:>12}{psnr(real, painted):>9.2f} dB{psnr(real, mean):>13.2f} dB")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
