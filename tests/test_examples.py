"""The worked examples of docs/extending.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.dataset import ClipDataset
from data.sampler import SamplerConfig, plan_epoch
from data.sequences import find_sequences
from data.transforms import TransformConfig
from models.flow.estimator import estimate_clip_flow
from models.losses.vid2vid import GeneratedWindow
from models.networks.generators import GeneratorOutput
from options import configs
from tests.examples.depth_frame_reader import DepthFrameReader
from tests.examples.gradient_loss import compute_gradient_losses
from tests.examples.translation_flow import TranslationFlowEstimator
from tests.programs import run_program
from util.clip import FlowEstimate
from util.errors import UserError

N_FRAMES = 4


@pytest.fixture
def depth_dataset(tmp_path: Path) -> Path:
    """A dataset with one sequence of depth maps and images."""
    rng = np.random.default_rng(0)
    for folder in ("train_depth", "train_img"):
        (tmp_path / folder / "seq").mkdir(parents=True)
    for i in range(N_FRAMES):
        depth = rng.integers(0, 20_000, (32, 64)).astype(np.uint16)
        Image.fromarray(depth).save(tmp_path / f"train_depth/seq/{i}.png")
        image = rng.integers(0, 256, (32, 64, 3)).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / f"train_img/seq/{i}.png")
    return tmp_path


def test_dataset_mode_reads_clips(depth_dataset: Path) -> None:
    reader = DepthFrameReader()
    sequences = find_sequences(depth_dataset, "train", reader.folder_specs(uses_images=True))
    dataset = ClipDataset(reader, sequences, TransformConfig(64, 64, "none", uses_flip=False))
    [[plan]] = plan_epoch([N_FRAMES], SamplerConfig(), n_frames_total=2, epoch=1)
    clip = dataset[plan]
    assert clip.condition.shape == (1, 4, 1, 32, 64) and clip.condition.dtype == torch.uint8
    depth = np.asarray(Image.open(depth_dataset / "train_depth/seq/0.png")).astype(float)
    expected = (depth / reader.max_depth * 255).clip(0, 255).astype(np.uint8)
    assert torch.equal(clip.condition[0, 0, 0], torch.from_numpy(expected))
    on_device = clip.to(torch.device("cpu"))
    assert on_device.condition.min() == -1 and on_device.condition.max() == 1


def test_dataset_mode_refuses_other_files(depth_dataset: Path) -> None:
    path = depth_dataset / "train_depth/seq/0.png"
    Image.new("RGB", (64, 32)).save(path)
    with pytest.raises(UserError, match="expected a depth map"):
        DepthFrameReader().validate_files({"condition": path})


def test_dataset_mode_trains(
    depth_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if `build_frame_reader` had a branch for it."""
    monkeypatch.setattr(configs, "build_frame_reader", lambda opt: DepthFrameReader())
    flags = (
        f"--dataroot {depth_dataset} --checkpoints_dir {tmp_path / 'runs'} --name depth --input_nc 1 --ngf 4 "
        "--n_downsample_G 1 --n_blocks 2 --ndf 4 --num_D 1 --n_layers_D 1 --n_scales_temporal 0 --n_frames_total 1 "
        "--niter 1 --niter_decay 0 --no_vgg --flow_net none --nThreads 0 --no_html --gpu_ids -1 --resize_or_crop none"
    )
    assert run_program("train.py", flags.split()) == 0
    assert (tmp_path / "runs/depth/latest_net_G0.pth").is_file()


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-5, 1)])
def test_flow_estimator_finds_translation(shift: tuple[int, int]) -> None:
    previous = torch.rand(1, 2, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    current = previous.roll((-shift[1], -shift[0]), dims=(-2, -1))
    estimate = estimate_clip_flow(TranslationFlowEstimator(), current, previous, None)
    expected = torch.tensor(shift, dtype=torch.float32)[:, None, None].expand(2, 32, 48)
    assert torch.equal(estimate.flow[0, 0], expected)
    assert estimate.confidence[..., 5:-5, 5:-5].min() == 1


def test_loss_compares_gradients() -> None:
    real = torch.rand(1, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert gradient_loss(real + 0.5, real) == pytest.approx(0, abs=1e-6)
    ramp = torch.arange(8.0).expand(1, 2, 3, 8, 8)
    assert gradient_loss(ramp, torch.zeros_like(ramp)) == pytest.approx(10)


def gradient_loss(fake: torch.Tensor, real: torch.Tensor) -> float:
    """G_Grad with weight 10, of images alone."""
    flow = FlowEstimate(torch.zeros(1, 2, 2, 8, 8), torch.zeros(1, 2, 1, 8, 8))
    output = GeneratorOutput(fake, fake, None, None)
    window = GeneratedWindow(real, real, real, output, fake, flow)
    return float(compute_gradient_losses(window, weight=10.0).generator["G_Grad"])
