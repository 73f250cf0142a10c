"""The published sample data of all three modes (202 MB) to datasets/."""

from pathlib import Path

from util.download import drive_file, install

DATASETS = Path(__file__).parents[1] / "datasets"

if __name__ == "__main__":
    install(drive_file("1rPcbnanuApZeo2uc7h55OneBkbcFCnnf"), DATASETS / "datasets.zip", unpack_to=DATASETS)
