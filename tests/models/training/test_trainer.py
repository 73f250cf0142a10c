"""A clip's steps: who moves, by which gradients, and what is told. Values are held by the golden cases."""

import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.networks.collection import Vid2VidModels
from models.training.callbacks import ClipCounter, StepResult
from models.training.forward import ClipState, Vid2VidForward
from models.training.resume import RunState
from models.training.schedule import EpochSettings, compute_epoch_settings
from tests.tiny import street_clip, tiny_networks, tiny_options, tiny_trainer
from util.clip import Clip
from util.errors import UserError

STREET = "--label_nc 5 --n_frames_total 4 --max_frames_per_gpu 2 --lr 0.001"
POSE = "--dataset_mode pose --input_nc 6 --no_first_img --add_face_disc --fineSize 64 --n_frames_total 4"


def trained(flags: str, clip: Clip, epoch: int = 1) -> tuple[StepResult, dict[str, bool]]:
    """What a clip's training returns, and which networks it moved."""
    options = tiny_options(flags)
    networks = tiny_networks(options)
    before = parameters(networks)
    trainer = tiny_trainer(options, networks)
    last = trainer.train_clip(clip, compute_epoch_settings(epoch, trainer.config.schedule))
    after = parameters(networks)
    return last, {
        name: any(not torch.equal(p, q) for p, q in zip(before[name], after[name], strict=True))
        for name in before
    }


def parameters(networks: Vid2VidModels) -> dict[str, list[torch.Tensor]]:
    return {
        name: [p.detach().clone() for p in network.parameters()]
        for name, network in networks.named_networks().items()
    }


def pose_clip(face: bool) -> Clip:
    clip = street_clip(4, 64, 64)
    condition = torch.rand(1, 4, 6, 64, 64) * 2 - 1
    condition[:, :, 2] = -1
    if face:
        condition[:, :, 2, 20:24, 30:34] = 1
    return replace(clip, condition=condition, instance=None)


def test_every_network_with_a_loss_is_updated() -> None:
    last, moved = trained(f"{STREET} --n_scales_temporal 2", street_clip(6, 32, 48, load=2))
    assert moved == {
        "G0": True,
        "D": True,
        "D_T0": True,
        "D_T1": False,
    }  # no group of scale 1 in 4 frames
    assert {"G_T_GAN0", "D_T_real0"} <= set(last.losses) and "G_T_GAN1" not in last.losses


def test_trains_without_temporal_discriminators() -> None:
    last, moved = trained(f"{STREET} --n_scales_temporal 0", street_clip(6, 32, 48, load=2))
    assert moved == {"G0": True, "D": True} and not any("_T_" in name for name in last.losses)


@pytest.mark.parametrize("face", [True, False])
def test_face_discriminator_is_updated_only_with_a_face(face: bool) -> None:
    last, moved = trained(POSE, pose_clip(face))
    assert moved["D_f"] == face and moved["D"] and moved["G0"]
    assert (last.losses["D_f_real"] > 0) == face


@pytest.mark.parametrize(
    "flags",
    [
        "--no_flow",
        "--sparse_D",
        "--TTUR",
        "--gan_mode hinge",
        "--gan_mode original",
        "--norm instance",
        "--no_ganFeat",
        "--n_frames_D 2",
        "--n_frames_G 2",
        "--n_scales_spatial 3",
        "--no_first_img",
        "--max_frames_backpropagate 2",
    ],
)
def test_every_setting_trains(flags: str) -> None:
    last, moved = trained(f"{STREET} {flags}", street_clip(8, 32, 48, load=2, batch=2), epoch=6)
    assert moved["G0"] and moved["D"] and moved["D_T0"]
    assert ("F_Flow" in last.losses) == (flags != "--no_flow")
    assert (last.losses["G_GAN_Feat"] == 0) == (flags == "--no_ganFeat")


def test_each_optimizer_gets_only_the_gradient_of_its_own_loss() -> None:
    """The generator's step with discriminators that stand still is its step among those that move."""
    clip, results = street_clip(6, 32, 48, load=4), []
    for others_move in (True, False):
        options = tiny_options(STREET)
        networks = tiny_networks(options)
        trainer = tiny_trainer(options, networks)
        if not others_move:
            for player in ("D", "D_T0"):
                trainer.optimizers[player].param_groups[0]["lr"] = 0.0
        trainer.train_clip(clip, compute_epoch_settings(1, trainer.config.schedule))
        results.append(parameters(networks)["G0"])
    assert all(torch.equal(p, q) for p, q in zip(*results, strict=True))


def test_non_finite_loss_stops_before_the_step(tmp_path: Path) -> None:
    options = tiny_options(f"{STREET} --checkpoints_dir {tmp_path}")
    networks = tiny_networks(options)
    trainer = tiny_trainer(options, networks)
    clip = street_clip(6, 32, 48, load=2)
    clip.image[0, 3, 0, 0, 0] = float("nan")
    before = parameters(networks)
    with pytest.raises(UserError, match="nan"):
        trainer.train_clip(clip, compute_epoch_settings(1, trainer.config.schedule))
    assert (tmp_path / "experiment_name/not_finite.pth").is_file()
    after = parameters(networks)
    assert all(
        torch.equal(p, q) for name in before for p, q in zip(before[name], after[name], strict=True)
    )


def test_odd_sizes_are_padded_in_training() -> None:
    last, _ = trained(STREET, street_clip(6, 30, 43, load=2))
    assert last.output.fake.shape[-2:] == (32, 44)


def test_is_due_at_multiples_of_frequency_in_clips() -> None:
    counter = ClipCounter(steps_per_epoch=100)
    due = [step for step in range(1, 13) if counter.is_due(RunState(1, step, 6), 4)]
    assert due == [2, 4, 6, 8, 10, 12]  # 6 clips per batch: 12, 24, ...


def test_graph_of_a_window_is_freed_before_the_next_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A generated image, which the graph holds, is gone when the next window is generated."""
    generate = Vid2VidForward.generate
    images: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def observed(
        self: Vid2VidForward, window: Clip, state: ClipState, settings: EpochSettings
    ) -> tuple:
        alive.append(sum(image() is not None for image in images))
        state.apply(lambda tensor: pytest.fail("has a graph") if tensor.requires_grad else tensor)
        result = generate(self, window, state, settings)
        images.append(weakref.ref(result[0].output.image))
        return result

    monkeypatch.setattr(Vid2VidForward, "generate", observed)
    options = tiny_options(f"{STREET} --n_scales_temporal 2 --n_frames_total 8")
    trainer = tiny_trainer(options, tiny_networks(options))
    clip = street_clip(10, 32, 48, load=2)
    trainer.train_clip(clip, compute_epoch_settings(1, trainer.config.schedule))
    assert alive == [0, 0, 0, 0]
