"""Training steps: which networks are updated, by which gradients. The golden cases check the values."""

import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.training.callbacks import ClipCounter
from models.training.forward import ClipState, Vid2VidForward
from models.training.resume import RunState
from models.training.schedule import EpochSettings, compute_epoch_settings
from models.training.trainer import StepResult
from tests.tiny import copy_parameters, street_clip, tiny_networks, tiny_options, tiny_trainer
from util.clip import Clip
from util.errors import UserError

STREET = "--label_nc 5 --n_frames_total 4 --max_frames_per_gpu 2 --lr 0.001"
POSE = "--dataset_mode pose --input_nc 6 --no_first_img --add_face_disc --fineSize 64 --n_frames_total 4"


def train_clip(flags: str, clip: Clip, epoch: int = 1) -> tuple[StepResult, dict[str, bool]]:
    """Train on a clip; return the result, and whether each network changed."""
    options = tiny_options(flags)
    networks = tiny_networks(options)
    before = copy_parameters(networks)
    trainer = tiny_trainer(options, networks)
    result = trainer.train_clip(clip, compute_epoch_settings(epoch, trainer.config.schedule))
    after = copy_parameters(networks)
    return result, {
        name: any(not torch.equal(p, q) for p, q in zip(before[name], after[name], strict=True))
        for name in before
    }


def pose_clip(has_face: bool) -> Clip:
    clip = street_clip(4, 64, 64)
    condition = torch.rand(1, 4, 6, 64, 64) * 2 - 1
    condition[:, :, 2] = -1
    if has_face:
        condition[:, :, 2, 20:24, 30:34] = 1
    return replace(clip, condition=condition, instance=None)


def test_every_network_with_a_loss_is_updated() -> None:
    result, is_updated = train_clip(
        f"{STREET} --n_scales_temporal 2", street_clip(6, 32, 48, load=2)
    )
    assert is_updated == {
        "G0": True,
        "D": True,
        "D_T0": True,
        "D_T1": False,
    }  # no group of scale 1 in 4 frames
    assert {"G_T_GAN0", "D_T_real0"} <= set(result.losses) and "G_T_GAN1" not in result.losses


def test_trains_without_temporal_discriminators() -> None:
    result, is_updated = train_clip(
        f"{STREET} --n_scales_temporal 0", street_clip(6, 32, 48, load=2)
    )
    assert is_updated == {"G0": True, "D": True} and not any(
        "_T_" in name for name in result.losses
    )


@pytest.mark.parametrize("has_face", [True, False])
def test_face_discriminator_is_updated_only_with_a_face(has_face: bool) -> None:
    result, is_updated = train_clip(POSE, pose_clip(has_face))
    assert is_updated["D_f"] == has_face and is_updated["D"] and is_updated["G0"]
    assert (result.losses["D_f_real"] > 0) == has_face


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
    result, is_updated = train_clip(
        f"{STREET} {flags}", street_clip(8, 32, 48, load=2, batch=2), epoch=6
    )
    assert is_updated["G0"] and is_updated["D"] and is_updated["D_T0"]
    assert ("F_Flow" in result.losses) == (flags != "--no_flow")
    assert (result.losses["G_GAN_Feat"] == 0) == (flags == "--no_ganFeat")


def test_each_optimizer_gets_only_the_gradient_of_its_own_loss() -> None:
    """The generator's step is the same whether or not the discriminators are updated."""
    clip, results = street_clip(6, 32, 48, load=4), []
    for should_update_others in (True, False):
        options = tiny_options(STREET)
        networks = tiny_networks(options)
        trainer = tiny_trainer(options, networks)
        if not should_update_others:
            for name in ("D", "D_T0"):
                trainer.optimizers[name].param_groups[0]["lr"] = 0.0
        trainer.train_clip(clip, compute_epoch_settings(1, trainer.config.schedule))
        results.append(copy_parameters(networks)["G0"])
    assert all(torch.equal(p, q) for p, q in zip(*results, strict=True))


def test_non_finite_loss_stops_before_the_step(tmp_path: Path) -> None:
    options = tiny_options(f"{STREET} --checkpoints_dir {tmp_path}")
    networks = tiny_networks(options)
    trainer = tiny_trainer(options, networks)
    clip = street_clip(6, 32, 48, load=2)
    clip.image[0, 3, 0, 0, 0] = float("nan")
    before = copy_parameters(networks)
    with pytest.raises(UserError, match="nan"):
        trainer.train_clip(clip, compute_epoch_settings(1, trainer.config.schedule))
    assert (tmp_path / "experiment_name/not_finite.pth").is_file()
    after = copy_parameters(networks)
    assert all(
        torch.equal(p, q) for name in before for p, q in zip(before[name], after[name], strict=True)
    )


def test_odd_sizes_are_padded_in_training() -> None:
    result, _ = train_clip(STREET, street_clip(6, 30, 43, load=2))
    assert result.output.fake.shape[-2:] == (32, 44)


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
