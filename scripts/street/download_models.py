"""Download the published street networks (2.9 GB) to checkpoints/."""

from pathlib import Path

from util.io.download import download_and_unpack, drive_file

_CHECKPOINTS_DIR = Path(__file__).parents[2] / "checkpoints"

if __name__ == "__main__":
    download_and_unpack(
        drive_file("1MKtImgtnGC28EPU7Nh9DfFpHW6okNVkl"),
        _CHECKPOINTS_DIR / "street.zip",
        unpack_to=_CHECKPOINTS_DIR,
    )
