"""Download the published face networks (1.4 GB) to checkpoints/."""

from pathlib import Path

from util.io.download import download_and_unpack, drive_file

_CHECKPOINTS_DIR = Path(__file__).parents[2] / "checkpoints"

if __name__ == "__main__":
    download_and_unpack(
        drive_file("10LvNw-2lrh-6sPGkWbQDfHspkqz5AKxb"),
        _CHECKPOINTS_DIR / "face.zip",
        unpack_to=_CHECKPOINTS_DIR,
    )
