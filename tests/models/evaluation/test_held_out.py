"""`--eval_freq`: what training says of held-out clips is what test.py would make of them."""

from dataclasses import replace

import pytest
import torch

from models.checkpoint import RunState, get_weights_path
from models.evaluation.metrics import ssim
from models.evaluation.video_metrics import compute_fidelity_metrics, evaluate_synthesis
from models.inference import first_frame
from models.inference.synthesizer import Synthesizer
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options, tiny_trainer
from util.images.visualization import tensor_to_image

CPU = torch.device("cpu")


@pytest.fixture
def options(tmp_path):
    return tiny_options(f"--label_nc 5 --checkpoints_dir {tmp_path} --name run --eval_freq 1")


def frames_of(clip):
    return [clip.slice_frames(t, t + 1) for t in range(len(clip))]


def test_validation_metrics_equal_those_of_synthesis(options):
    networks, clip = tiny_networks(options), street_clip(8, 16, 24)
    synthesizer = Synthesizer(
        networks.netG, configs.synthesis_config(options), first_frame.get_real_images
    )
    expected = [
        ssim(tensor_to_image(frame.image[0, 0]), tensor_to_image(made[0]))
        for frame, made in synthesizer.synthesize(frames_of(clip))
    ][:4]
    found = evaluate_synthesis(synthesizer, [("s", frames_of(clip))], [compute_fidelity_metrics], 4)
    assert found["ssim"] == pytest.approx(sum(expected) / 4)


def test_best_and_latest_weights_are_both_saved(options):
    networks = tiny_networks(options)
    trainer = replace(tiny_trainer(options, networks), evaluate=dict)
    best = get_weights_path(configs.run_folder(options), "best", "G0")
    run = trainer.log_metrics_and_save_best(RunState(), {"ssim": 0.5})
    written = best.read_bytes()
    with torch.no_grad():
        next(networks.netG.parameters()).add_(1)
    assert (
        trainer.log_metrics_and_save_best(run, {"ssim": 0.4}) == run
        and best.read_bytes() == written
    )
    assert (
        trainer.log_metrics_and_save_best(run, {"ssim": 0.6}).best == 0.6
        and best.read_bytes() != written
    )
    log = (configs.run_folder(options) / "eval_log.txt").read_text().splitlines()
    assert [line.split("ssim: ")[1] for line in log] == ["0.5", "0.4", "0.6"]


def test_evaluation_runs_every_eval_freq_epochs(tmp_path):
    options = tiny_options(
        f"--label_nc 5 --checkpoints_dir {tmp_path} --name run --eval_freq 2 --niter 3 "
        "--niter_decay 1 --n_frames_total 1 --save_epoch_freq 9"
    )
    asked = []
    trainer = replace(
        tiny_trainer(options, tiny_networks(options)),
        evaluate=lambda: asked.append(0) or {"ssim": float(len(asked))},
    )
    clips = iter([street_clip(3, 16, 24)] * 4)
    trainer.fit(clips, RunState())
    assert len(asked) == 2
