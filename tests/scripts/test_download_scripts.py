"""Each download script fetches the published file to the published folder."""

import runpy
from pathlib import Path

import pytest

import util.io.download

ROOT = Path(__file__).parents[2]
FLOWNET2_PATH = "models/flownet2_pytorch/FlowNet2_checkpoint.pth.tar"


@pytest.mark.parametrize(
    ("script", "drive_id", "target"),
    [
        ("download_datasets.py", "1rPcbnanuApZeo2uc7h55OneBkbcFCnnf", "datasets"),
        ("street/download_models.py", "1MKtImgtnGC28EPU7Nh9DfFpHW6okNVkl", "checkpoints"),
        ("street/download_models_g1.py", "1QoE1p3QikxNVbbTBWWRDtIspg-RcLE8y", "checkpoints"),
        ("face/download_models.py", "10LvNw-2lrh-6sPGkWbQDfHspkqz5AKxb", "checkpoints"),
        ("download_models_flownet2.py", "1E8re-b6csNuo-abg1vJKCDjCzlIam50F", None),
    ],
)
def test_each_script_downloads_the_published_file_to_its_folder(
    monkeypatch, tmp_path, script, drive_id, target
):
    calls = []
    monkeypatch.setattr(
        util.io.download,
        "download_and_unpack",
        lambda *args, **kwargs: calls.append((args, kwargs)),
    )
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
    (((remote, path), kwargs),) = calls
    assert remote.url.endswith(f"?id={drive_id}")
    if target is None:
        assert path == ROOT / FLOWNET2_PATH and not kwargs
        assert (remote.size, remote.sha256[:8]) == (650_102_505, "bc30f54f")
    else:
        assert path.parent == kwargs["unpack_to"] == ROOT / target and path.suffix == ".zip"


def test_flownet2_script_compiles_nothing(capsys):
    runpy.run_path(str(ROOT / "scripts/download_flownet2.py"), run_name="__main__")
    assert "Nothing to fetch or compile" in capsys.readouterr().out
