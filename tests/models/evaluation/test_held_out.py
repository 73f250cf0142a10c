"""`--eval_freq`: validation during training gives the metrics of test.py's output."""

from dataclasses import replace

import pytest
import torch

from models.checkpoint import get_weights_path
from models.evaluation.metrics import ssim
from models.evaluation.video_metrics import compute_fidelity_metrics, evaluate_synthesis
from models.inference import first_frame
from models.inference.synthesizer import Synthesizer
from models.training.callbacks import ClipCounter, Evaluate
from models.training.resume import RunState
from options import configs
from tests.tiny import split_frames, street_clip, tiny_networks, tiny_options, tiny_trainer
from util.images.visualization import tensor_to_image
from util.run_logger import NullLogger, RunLogger

CPU = torch.device("cpu")


@pytest.fixture
def options(tmp_path):
    return tiny_options(f"--label_nc 5 --checkpoints_dir {tmp_path} --name run --eval_freq 1")


def test_validation_metrics_equal_those_of_synthesis(options):
    networks, clip = tiny_networks(options), street_clip(8, 16, 24)
    synthesizer = Synthesizer(
        networks.netG, configs.synthesis_config(options), first_frame.get_real_images
    )
    expected = [
        ssim(tensor_to_image(frame.image[0, 0]), tensor_to_image(made[0]))
        for frame, made in synthesizer.synthesize(split_frames(clip))
    ][:4]
    found = evaluate_synthesis(
        synthesizer, [("s", split_frames(clip))], [compute_fidelity_metrics], 4
    )
    assert found["ssim"] == pytest.approx(sum(expected) / 4)


def make_evaluate(options, networks, metrics):
    folder = configs.run_folder(options)
    logger = RunLogger(folder, NullLogger(), None)
    counter = ClipCounter(steps_per_epoch=1)
    values = iter(metrics)
    return Evaluate(
        lambda: {"ssim": next(values)},
        "ssim",
        options.eval_freq or 1,
        folder,
        networks,
        logger,
        counter,
    )


def test_best_weights_are_saved_when_the_metric_improves(options):
    networks = tiny_networks(options)
    evaluate = make_evaluate(options, networks, [0.5, 0.4, 0.6])
    best = get_weights_path(configs.run_folder(options), "best", "G0")
    run = evaluate(RunState())
    written = best.read_bytes()
    with torch.no_grad():
        next(networks.netG.parameters()).add_(1)
    assert evaluate(run) == run and best.read_bytes() == written
    assert evaluate(run).best == 0.6 and best.read_bytes() != written
    log = (configs.run_folder(options) / "eval_log.txt").read_text().splitlines()
    assert [line.split("ssim: ")[1] for line in log] == ["0.5", "0.4", "0.6"]


def test_evaluation_runs_every_eval_freq_epochs(tmp_path):
    options = tiny_options(
        f"--label_nc 5 --checkpoints_dir {tmp_path} --name run --eval_freq 2 --niter 3 "
        "--niter_decay 1 --n_frames_total 1"
    )
    networks = tiny_networks(options)
    evaluate = make_evaluate(options, networks, [0.5, 0.6, 0.7])
    trainer = replace(tiny_trainer(options, networks), epoch_callbacks=[evaluate])
    trainer.fit(iter([street_clip(3, 16, 24)] * 4), RunState())
    log = (tmp_path / "run/eval_log.txt").read_text().splitlines()
    assert [line.split("ssim: ")[1] for line in log] == ["0.5", "0.6"]
