"""The published face networks (1.4 GB) to checkpoints/."""

from pathlib import Path

from util.download import drive_file, install

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"

if __name__ == "__main__":
    install(drive_file("10LvNw-2lrh-6sPGkWbQDfHspkqz5AKxb"), CHECKPOINTS / "face.zip", unpack_to=CHECKPOINTS)
