"""Download the published weights of FlowNet2 (650 MB) to the path that `--flow_net flownet2` loads."""

from pathlib import Path

from util.io.download import download_and_unpack, drive_file

_ROOT = Path(__file__).parents[1]
FLOWNET2_WEIGHTS = drive_file(
    "1E8re-b6csNuo-abg1vJKCDjCzlIam50F",
    size=650_102_505,
    sha256="bc30f54f76aa4c726faada81c9fe5e62da22bfe467f1d65bacd613ba6be53e73",
)

if __name__ == "__main__":
    download_and_unpack(
        FLOWNET2_WEIGHTS, _ROOT / "models/flownet2_pytorch/FlowNet2_checkpoint.pth.tar"
    )
