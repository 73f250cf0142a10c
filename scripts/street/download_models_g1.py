"""Download the published street networks trained on one GPU to checkpoints/."""

from pathlib import Path

from util.io.download import download_and_unpack, drive_file

_CHECKPOINTS_DIR = Path(__file__).parents[2] / "checkpoints"

if __name__ == "__main__":
    download_and_unpack(
        drive_file("1QoE1p3QikxNVbbTBWWRDtIspg-RcLE8y"),
        _CHECKPOINTS_DIR / "street_g1.zip",
        unpack_to=_CHECKPOINTS_DIR,
    )
