"""Download the published sample data of all three modes (202 MB) to datasets/."""

from pathlib import Path

from util.io.download import download_and_unpack, drive_file

_DATASETS_FOLDER = Path(__file__).parents[1] / "datasets"

if __name__ == "__main__":
    download_and_unpack(
        drive_file("1rPcbnanuApZeo2uc7h55OneBkbcFCnnf"),
        _DATASETS_FOLDER / "datasets.zip",
        unpack_to=_DATASETS_FOLDER,
    )
