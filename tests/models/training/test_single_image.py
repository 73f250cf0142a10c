"""Training of single-image networks: losses by hand, updates, overfitting, schedule."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.input_encoding import get_edges, one_hot
from models.training.schedule import compute_epoch_settings
from models.training.trainer import Trainer
from options import configs
from options.registry import MODEL_REGISTRY
from tests.tiny import street_clip, tiny_options, tiny_trainer


def make_trainer(netG: str, flags: str = "") -> Trainer:
    options = tiny_options(
        f"--model single --netG {netG} --label_nc 5 --use_instance --norm instance --num_D 2 "
        f"--ngf 4 --nef 4 --n_downsample_E 2 --feat_num 2 {flags}"
    )
    return tiny_trainer(options, MODEL_REGISTRY["single"].build_networks(options))


def mean_square(scores: list[list[Tensor]], target: float) -> Tensor:
    return sum((scale[-1] - target).square().mean() for scale in scores)


@pytest.mark.parametrize("netG", ["global", "local", "global_with_features", "local_with_features"])
def test_losses_match_hand_computed_values(netG: str) -> None:
    trainer = make_trainer(netG)
    networks, clip = trainer.networks, street_clip(1, 16, 24, batch=2)
    with torch.no_grad():
        A = torch.cat([one_hot(clip.condition, 5), get_edges(clip.instance)], dim=2)[:, 0]
        B = clip.image[:, 0]
        features = [networks.netE(B, clip.instance[:, 0])] if "features" in netG else []
        fake = networks.netG[0](A, *features)
        D_real, D_fake = (networks.netD(torch.cat([A, x], dim=1)) for x in (B, fake))
        matching = sum(
            F.l1_loss(f, r)
            for fs, rs in zip(D_fake, D_real, strict=True)
            for f, r in zip(fs[:-1], rs[:-1], strict=True)
        )
    losses = trainer.train_clip(clip, compute_epoch_settings(1, trainer.config.schedule)).losses
    expected = {
        "G_GAN": mean_square(D_fake, 1),
        "D_real": mean_square(D_real, 1),
        "D_fake": mean_square(D_fake, 0),
        "G_GAN_Feat": matching * 10 * 4 / (2 + 1) / 2,
    }
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert losses[name] == pytest.approx(float(value), rel=1e-4), name


def test_every_network_trains_and_is_saved_under_its_published_name() -> None:
    trainer = make_trainer("global_with_features")
    named = trainer.networks.named_networks()
    assert set(named) == {"G", "E", "D"}
    before = {name: [p.clone() for p in network.parameters()] for name, network in named.items()}
    trainer.train_clip(street_clip(1, 16, 24), compute_epoch_settings(1, trainer.config.schedule))
    for name, network in named.items():
        changed = [
            not torch.equal(old, new)
            for old, new in zip(before[name], network.parameters(), strict=True)
        ]
        assert sum(changed) > len(changed) / 2, name


def test_overfits_one_image() -> None:
    torch.manual_seed(0)
    trainer = make_trainer("global", "--lr 0.002 --lambda_feat 10")
    clip = replace(street_clip(1, 16, 16), instance=torch.zeros(1, 1, 1, 16, 16, dtype=torch.int32))
    colors = torch.linspace(-0.8, 0.8, 15).reshape(5, 3)
    image = colors[clip.condition[:, :, 0].long()].movedim(-1, 2)
    clip = replace(clip, image=image)
    settings = compute_epoch_settings(1, trainer.config.schedule)
    mean_error = float((image - image.mean(dim=(-1, -2), keepdim=True)).square().mean())
    for _ in range(120):
        result = trainer.train_clip(clip, settings)
    error = float((result.output.fake - image[:, 0]).square().mean())
    assert error < mean_error / 2


def test_schedule_has_single_frames_and_decaying_learning_rates() -> None:
    options = tiny_options(
        "--model single --netG global --niter 6 --niter_decay 4 --niter_step 2 --n_frames_total 8"
    )
    schedule = configs.schedule_config(options, max_sequence_length=50, n_gpus_gen=1)
    phases = [compute_epoch_settings(epoch, schedule) for epoch in range(1, 11)]
    assert {(phase.n_frames_total, phase.frames_per_gpu) for phase in phases} == {(1, 1)}
    assert [phase.lr_factor for phase in phases[6:]] == pytest.approx([1, 0.75, 0.5, 0.25])
    assert (
        configs.sampling_config(options, 1).uses_every_start_frame
        and configs.sampling_config(options, 1).n_frames_G == 1
    )
