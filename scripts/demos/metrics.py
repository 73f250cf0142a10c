"""PSNR and SSIM of the demo's generated frames, next to those of two baselines."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate
from tqdm import tqdm

from data.face import FaceFrameReader
from data.sequences import FrameSequence, find_sequences
from data.transforms import FrameTransform, TransformConfig, sample_transform
from models.evaluation.metrics import psnr, ssim
from util.errors import UserError, exit_on_user_error

_DISPLAYED_FRAMES = (0, 9, 19, 29)  # columns of side_by_side.png
_N_LAST_FRAMES = 15  # frames of the second average, which shows how errors accumulate


def make_face_transform(
    sequence: FrameSequence, frame_reader: FaceFrameReader, width: int
) -> FrameTransform:
    """Return the transform of test.py: the crop of this sequence, scaled to a width."""
    return sample_transform(
        frame_reader.read_reference_frame(sequence.paths(0), is_train=False),
        TransformConfig(width, width, "scaleWidth", False),
        None,
    )


def read_cropped_image(path: Path, transform: FrameTransform) -> np.ndarray:
    """Read an image and apply the transform to it."""
    with Image.open(path) as image:
        return np.asarray(transform.apply(image.convert("RGB"), Image.Resampling.BICUBIC))


def main() -> None:
    """Print the table; write the metrics and an image of real above generated frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data root of the demo")
    parser.add_argument(
        "--results", type=Path, required=True, help="folder with fake_B_FRAME.jpg files"
    )
    args = parser.parse_args()
    fake_paths = sorted(args.results.glob("fake_B_*.jpg"))
    if not fake_paths:
        raise UserError(f"--results {args.results}: no fake_B_*.jpg: run test.py first")
    frame_reader = FaceFrameReader(
        uses_canny=True, uses_distance_maps=True, random_scale_points=False
    )
    folder_specs = frame_reader.folder_specs(uses_images=True)
    train = find_sequences(args.data, "train", folder_specs)[0]
    test = find_sequences(args.data, "test", folder_specs)[0]

    fakes = [np.asarray(Image.open(path)) for path in fake_paths]
    transform = make_face_transform(test, frame_reader, fakes[0].shape[1])
    images = [read_cropped_image(path, transform) for path in test.files["image"]]
    last_real, reals = images[-len(fakes) - 1], images[-len(fakes) :]
    train_images = [read_cropped_image(path, transform) for path in train.files["image"]]
    mean_image = np.mean(train_images, axis=0).round().astype(np.uint8)
    compared = {
        "generated": fakes,
        "repeated": [last_real] * len(reals),
        "mean image": [mean_image] * len(reals),
    }
    metrics = {
        name: [(psnr(*pair), ssim(*pair)) for pair in zip(reals, others, strict=True)]
        for name, others in tqdm(compared.items(), "comparing")
    }
    frames = [path.stem.removeprefix("fake_B_") for path in fake_paths]
    print(format_demo_table(metrics, frames))
    (args.results / "figures.json").write_text(json.dumps(metrics, indent=1))

    columns = [i for i in _DISPLAYED_FRAMES if i < len(reals)]
    rows = [np.hstack([row[i] for i in columns]) for row in (reals, fakes)]
    side_by_side = args.results / "side_by_side.png"
    Image.fromarray(np.vstack(rows)).save(side_by_side)
    print(f"real frames above generated ones: {side_by_side}")


def format_demo_table(metrics: dict[str, list[tuple[float, float]]], frames: list[str]) -> str:
    """Format PSNR / SSIM by frame, then the averages over all frames and over the last 15."""

    def average(n_frames: int) -> list[tuple[float, float]]:
        return [tuple(np.mean(values[-n_frames:], axis=0)) for values in metrics.values()]

    values_by_title = {frame: [v[i] for v in metrics.values()] for i, frame in enumerate(frames)}
    values_by_title["average"] = average(len(frames))
    values_by_title[f"last {_N_LAST_FRAMES}"] = average(_N_LAST_FRAMES)
    rows = [
        (title, *(f"{mean_psnr:.2f} dB / {mean_ssim:.3f}" for mean_psnr, mean_ssim in values))
        for title, values in values_by_title.items()
    ]
    return tabulate(rows, ("frame", *metrics), tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
