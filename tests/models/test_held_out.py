"""`--eval_freq`: what training says of held-out clips is what test.py would make of them."""

from dataclasses import replace

import pytest
import torch

from models import first_frame
from models.evaluation import evaluate_synthesis, fidelity
from models.saving import RunState, weight_file
from models.synthesis import synthesise
from options import configs
from tests.tiny import street_clip, tiny_networks, tiny_options, tiny_trainer
from util.metrics import ssim
from util.pictures import to_uint8

CPU = torch.device("cpu")


@pytest.fixture
def options(tmp_path):
    return tiny_options(f"--label_nc 5 --checkpoints_dir {tmp_path} --name run --eval_freq 1")


def frames_of(clip):
    return [clip.frames(t, t + 1) for t in range(len(clip))]


def test_the_figures_are_those_of_the_real_synthesis(options):
    networks, clip = tiny_networks(options), street_clip(8, 16, 24)
    arguments = networks.generator, frames_of(clip), first_frame.real_pictures, configs.synthesis(options), CPU
    expected = [ssim(to_uint8(frame.picture[0, 0]), to_uint8(made[0])) for frame, made in synthesise(*arguments)][:4]
    found = evaluate_synthesis(networks.generator, [("s", frames_of(clip))], first_frame.real_pictures,
                               configs.synthesis(options), [fidelity], 4, CPU)
    assert found["ssim"] == pytest.approx(sum(expected) / 4)


def test_the_best_weights_stay_beside_the_latest(options):
    networks = tiny_networks(options)
    trainer = replace(tiny_trainer(options, networks), evaluate=dict)
    best = weight_file(configs.run_folder(options), "best", "G0")
    run = trainer.assess(RunState(), {"ssim": 0.5})
    written = best.read_bytes()
    with torch.no_grad():
        next(networks.generator.parameters()).add_(1)
    assert trainer.assess(run, {"ssim": 0.4}) == run and best.read_bytes() == written
    assert trainer.assess(run, {"ssim": 0.6}).best == 0.6 and best.read_bytes() != written
    log = (configs.run_folder(options) / "eval_log.txt").read_text().splitlines()
    assert [line.split("ssim: ")[1] for line in log] == ["0.5", "0.4", "0.6"]


def test_it_is_asked_for_after_every_so_many_epochs(tmp_path):
    options = tiny_options(f"--label_nc 5 --checkpoints_dir {tmp_path} --name run --eval_freq 2 --niter 3 "
                           "--niter_decay 1 --n_frames_total 1 --save_epoch_freq 9")
    asked = []
    trainer = replace(tiny_trainer(options, tiny_networks(options)),
                      evaluate=lambda: asked.append(0) or {"ssim": float(len(asked))})
    clips = iter([street_clip(3, 16, 24)] * 4)
    trainer.fit(clips, RunState())
    assert len(asked) == 2
