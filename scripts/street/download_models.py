"""The published street networks (2.9 GB) to checkpoints/."""

from pathlib import Path

from util.download import drive_file, install

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"

if __name__ == "__main__":
    install(drive_file("1MKtImgtnGC28EPU7Nh9DfFpHW6okNVkl"), CHECKPOINTS / "street.zip", unpack_to=CHECKPOINTS)
