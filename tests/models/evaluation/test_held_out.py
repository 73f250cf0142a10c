"""`--eval_freq`: validation during training gives the metrics of test.py's output."""

from dataclasses import replace

import pytest
import torch

from models.checkpoint import get_weights_path
from models.evaluation.metrics import ssim
from models.evaluation.video_metrics import compute_fidelity_metrics, evaluate_synthesis
from models.inference import first_frame
from models.inference.synthesis import synthesize
from models.training.resume import RunState
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options, tiny_trainer
from util.images.visualization import tensor_to_image

CPU = torch.device("cpu")


@pytest.fixture
def options(tmp_path):
    return tiny_options(f"--label_nc 5 --checkpoints_dir {tmp_path} --name run --eval_freq 1")


def split_frames(clip):
    return [clip.slice_frames(t, t + 1) for t in range(len(clip))]


def test_validation_metrics_equal_those_of_synthesis(options):
    networks, clip = tiny_networks(options), street_clip(8, 16, 24)
    arguments = (
        networks.netG,
        split_frames(clip),
        first_frame.get_real_images,
        configs.synthesis_config(options),
        CPU,
    )
    expected = [
        ssim(tensor_to_image(frame.image[0, 0]), tensor_to_image(fake[0]))
        for frame, fake in synthesize(*arguments)
    ][:4]
    values = evaluate_synthesis(
        networks.netG,
        [("s", split_frames(clip))],
        first_frame.get_real_images,
        configs.synthesis_config(options),
        [compute_fidelity_metrics],
        4,
        CPU,
    )
    assert values["ssim"] == pytest.approx(sum(expected) / 4)


def test_best_and_latest_weights_are_both_saved(options):
    networks = tiny_networks(options)
    trainer = replace(tiny_trainer(options, networks), evaluate=dict)
    best = get_weights_path(configs.run_folder(options), "best", "G0")
    run = trainer.log_metrics_and_save_best(RunState(), {"ssim": 0.5})
    first_best = best.read_bytes()
    with torch.no_grad():
        next(networks.netG.parameters()).add_(1)
    assert trainer.log_metrics_and_save_best(run, {"ssim": 0.4}) == run
    assert best.read_bytes() == first_best
    assert trainer.log_metrics_and_save_best(run, {"ssim": 0.6}).best == 0.6
    assert best.read_bytes() != first_best
    log = (configs.run_folder(options) / "eval_log.txt").read_text().splitlines()
    assert [line.split("ssim: ")[1] for line in log] == ["0.5", "0.4", "0.6"]


def test_evaluation_runs_every_eval_freq_epochs(tmp_path):
    options = tiny_options(
        f"--label_nc 5 --checkpoints_dir {tmp_path} --name run --eval_freq 2 --niter 3 "
        "--niter_decay 1 --n_frames_total 1 --save_epoch_freq 9"
    )
    calls = []

    def evaluate():
        calls.append(0)
        return {"ssim": float(len(calls))}

    trainer = replace(tiny_trainer(options, tiny_networks(options)), evaluate=evaluate)
    clips = iter([street_clip(3, 16, 24)] * 4)
    trainer.fit(clips, RunState())
    assert len(calls) == 2
