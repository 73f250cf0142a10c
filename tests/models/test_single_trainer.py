"""A step on a single-image network: the objective by hand, and who learns from it."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from models.conditions import instance_edges, one_hot
from models.schedule import phase_at
from models.single_trainer import SingleTrainer
from options import configs
from options.methods import METHODS
from tests.tiny import street_clip, tiny_options, tiny_trainer


def trainer_of(netG, flags=""):
    options = tiny_options(f"--model single --netG {netG} --label_nc 5 --use_instance --norm instance --num_D 2 "
                           f"--ngf 4 --nef 4 --n_downsample_E 2 --feat_num 2 {flags}")
    method = METHODS["single"]
    assert method.trainer is SingleTrainer
    networks = method.networks(options)
    base = tiny_trainer(options, networks)
    return SingleTrainer(**vars(base))


def mean_square(scores, target):
    return sum((scale[-1] - target).square().mean() for scale in scores)


@pytest.mark.parametrize("netG", ["global", "local", "global_with_features", "local_with_features"])
def test_the_losses_by_hand(netG):
    trainer = trainer_of(netG)
    networks, clip = trainer.networks, street_clip(1, 16, 24, batch=2)
    with torch.no_grad():
        A = torch.cat([one_hot(clip.condition, 5), instance_edges(clip.instance)], dim=2)[:, 0]
        B = clip.picture[:, 0]
        features = [networks.encoder(B, clip.instance[:, 0])] if "features" in netG else []
        fake = networks.generator[0](A, *features)
        D_real, D_fake = (networks.image(torch.cat([A, x], dim=1)) for x in (B, fake))
        matching = sum(F.l1_loss(f, r) for fs, rs in zip(D_fake, D_real, strict=True)
                       for f, r in zip(fs[:-1], rs[:-1], strict=True))
    losses = trainer.train_clip(clip, phase_at(1, trainer.config.schedule)).losses
    expected = {"G_GAN": mean_square(D_fake, 1), "D_real": mean_square(D_real, 1), "D_fake": mean_square(D_fake, 0),
                "G_GAN_Feat": matching * 10 * 4 / (2 + 1) / 2}
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert losses[name] == pytest.approx(float(value), rel=1e-4), name


def test_every_network_learns_and_the_run_keeps_them_by_the_published_names():
    trainer = trainer_of("global_with_features")
    named = trainer.networks.named()
    assert set(named) == {"G", "E", "D"}
    before = {name: [p.clone() for p in network.parameters()] for name, network in named.items()}
    trainer.train_clip(street_clip(1, 16, 24), phase_at(1, trainer.config.schedule))
    for name, network in named.items():
        moved = [not torch.equal(old, new) for old, new in zip(before[name], network.parameters(), strict=True)]
        assert sum(moved) > len(moved) / 2, name


def test_it_learns_a_picture():
    torch.manual_seed(0)
    trainer = trainer_of("global", "--lr 0.002 --lambda_feat 10")
    clip = replace(street_clip(1, 16, 16), instance=torch.zeros(1, 1, 1, 16, 16, dtype=torch.int32))
    colours = torch.linspace(-0.8, 0.8, 15).reshape(5, 3)
    picture = colours[clip.condition[:, :, 0].long()].movedim(-1, 2)
    clip = replace(clip, picture=picture)
    phase = phase_at(1, trainer.config.schedule)
    mean_error = float((picture - picture.mean(dim=(-1, -2), keepdim=True)).square().mean())
    for _ in range(120):
        trained = trainer.train_clip(clip, phase)
    error = float((trained.window.frames.picture.detach() - picture).square().mean())
    assert error < mean_error / 2


def test_the_schedule_is_of_single_frames_at_falling_rates():
    options = tiny_options("--model single --netG global --niter 6 --niter_decay 4 --niter_step 2 --n_frames_total 8")
    schedule = configs.schedule(options, longest=50, n_gpus_gen=1)
    phases = [phase_at(epoch, schedule) for epoch in range(1, 11)]
    assert {(phase.n_frames_total, phase.frames_per_gpu) for phase in phases} == {(1, 1)}
    assert [phase.lr_factor for phase in phases[6:]] == pytest.approx([1, 0.75, 0.5, 0.25])
    assert configs.sampling(options, 1).per_start_frame and configs.sampling(options, 1).n_frames_G == 1
