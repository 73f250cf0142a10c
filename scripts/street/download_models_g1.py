"""The published street networks that were trained on one GPU to checkpoints/."""

from pathlib import Path

from util.download import drive_file, install

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"

if __name__ == "__main__":
    install(drive_file("1QoE1p3QikxNVbbTBWWRDtIspg-RcLE8y"), CHECKPOINTS / "street_g1.zip", unpack_to=CHECKPOINTS)
