"""How near a single-image network's first pictures are to the real ones, beside the mean training picture.

Takes test.py's flags: python scripts/first_frame_figures.py --name toy_street --single_G checkpoints/toy_street_single
"""

from __future__ import annotations

import numpy as np
import torch

from data.clips import SequenceReader
from data.sequences import find_sequences
from models.first_frame import choose_first_pictures
from options import configs
from options.test import parse_test
from util.errors import reported
from util.metrics import psnr
from util.pictures import to_uint8


def main() -> None:
    options = parse_test()
    domain, geometry = configs.domain(options), configs.geometry(options)
    paint, _ = choose_first_pictures(configs.first_frame(options))
    train, test = (find_sequences(options.dataroot, phase, domain.streams(picture=True)) for phase in ("train", "test"))
    pictures = [to_uint8(clip.picture[0, 0]) for sequence in train
                for clip in SequenceReader(domain, sequence, geometry) if clip.picture is not None]
    mean = np.mean(pictures, axis=0).round().astype(np.uint8)
    print(f"{'sequence':>12}{'painted':>12}{'mean picture':>16}")
    for sequence in test:
        clip = next(iter(SequenceReader(domain, sequence, geometry))).to(torch.device("cpu"))
        assert clip.picture is not None
        with torch.no_grad():
            painted = to_uint8(paint([clip])[0, 0])
        real = to_uint8(clip.picture[0, 0])
        print(f"{sequence.name:>12}{psnr(real, painted):>9.2f} dB{psnr(real, mean):>13.2f} dB")


if __name__ == "__main__":
    with reported():
        main()
