"""How near the demo's generated frames are to the real ones, beside two baselines, frame by frame and on average."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.face import FaceFrameReader
from data.sequences import FrameSequence, find_sequences
from data.transforms import FrameTransform, TransformConfig, sample_transform
from models.evaluation.metrics import psnr, ssim
from util.errors import exit_on_user_error

_DISPLAYED_FRAMES = (0, 9, 19, 29)  # frames of the image: how it goes on


def make_face_transform(
    sequence: FrameSequence, frame_reader: FaceFrameReader, width: int
) -> FrameTransform:
    """The crop that test.py takes of this sequence, scaled to the generated images' width."""
    return sample_transform(
        frame_reader.read_reference_frame(sequence.paths(0), is_train=False),
        TransformConfig(width, width, "scaleWidth", False),
        None,
    )


def read_cropped_image(path: Path, transform: FrameTransform) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(transform.apply(image.convert("RGB"), Image.Resampling.BICUBIC))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the demo's data set")
    parser.add_argument(
        "--results", type=Path, required=True, help="the folder with fake_B_FRAME.jpg"
    )
    options = parser.parse_args()
    domain = FaceFrameReader(uses_canny=True, uses_distance_maps=True, random_scale_points=False)
    train, test = (
        find_sequences(options.data, phase, domain.folder_specs(uses_images=True))[0]
        for phase in ("train", "test")
    )
    fakes = sorted(options.results.glob("fake_B_*.jpg"))
    geometry = make_face_transform(test, domain, Image.open(fakes[0]).width)
    reals = [read_cropped_image(path, geometry) for path in test.files["image"]]
    given, reals = reals[-len(fakes) - 1], reals[-len(fakes) :]
    mean = (
        np.mean([read_cropped_image(path, geometry) for path in train.files["image"]], axis=0)
        .round()
        .astype(np.uint8)
    )

    others = {
        "generated": [np.asarray(Image.open(path)) for path in fakes],
        "repeated": [given] * len(reals),
        "mean image": [mean] * len(reals),
    }
    figures = {
        name: [
            (psnr(real, other), ssim(real, other))
            for real, other in zip(reals, images, strict=True)
        ]
        for name, images in tqdm(others.items(), "comparing")
    }
    print(format_demo_table(figures, [path.stem.removeprefix("fake_B_") for path in fakes]))
    (options.results / "figures.json").write_text(json.dumps(figures, indent=1))
    image = np.vstack(
        [
            np.hstack([images[i] for i in _DISPLAYED_FRAMES if i < len(reals)])
            for images in (reals, others["generated"])
        ]
    )
    Image.fromarray(image).save(options.results / "side_by_side.png")
    print(f"above real, below generated: {options.results / 'side_by_side.png'}")


def format_demo_table(metrics: dict[str, list[tuple[float, float]]], frames: list[str]) -> str:
    """PSNR / SSIM a frame, then the average over all and over the last 15."""
    head = f"{'frame':>12}" + "".join(f"{name:>20}" for name in metrics)

    def row(title: str, values: list[tuple[float, float]]) -> str:
        return f"{title:>12}" + "".join(
            f"{f'{mean_psnr:.2f} dB / {mean_ssim:.3f}':>20}" for mean_psnr, mean_ssim in values
        )

    def average(last: int) -> list[tuple[float, float]]:
        return [tuple(np.mean(rows[-last:], axis=0)) for rows in metrics.values()]

    rows = [
        row(frame, [values[i] for values in metrics.values()]) for i, frame in enumerate(frames)
    ]
    return "\n".join(
        [head, *rows, row("average", average(len(frames))), row("last 15", average(15))]
    )


if __name__ == "__main__":
    with exit_on_user_error():
        main()
