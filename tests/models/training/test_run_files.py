"""Checkpoints and weights: what is saved, restored and refused."""

import pickle
from pathlib import Path

import pytest
import torch
from torch.optim import Optimizer

from models.checkpoint import (
    get_weights_path,
    load_generators,
    load_pretrained,
    save_weights,
)
from models.networks.collection import Vid2VidModels, build_optimizers
from models.training.resume import (
    RunState,
    read_training_state,
    restore_checkpoint,
    save_latest,
)
from models.training.schedule import compute_epoch_settings
from options import configs
from options.parsing import Options
from options.registry import MODEL_REGISTRY
from options.train import parse_train
from tests.tiny import (
    copy_state_dicts,
    is_bitwise_equal,
    street_clip,
    tiny_networks,
    tiny_options,
    tiny_trainer,
)
from util.errors import UserError

FLAGS = "--label_nc 5 --n_frames_total 4 --max_frames_per_gpu 2 --n_scales_temporal 2 --ndf 64 --n_layers_D 1"
OPTIONS = tiny_options(FLAGS)


def save_run(folder: Path, flags: str, seed: int = 1) -> Vid2VidModels:
    networks = tiny_networks(tiny_options(flags), seed)
    save_weights(folder, "latest", networks)
    return networks


def is_one_line(error: pytest.ExceptionInfo[UserError]) -> bool:
    return "\n" not in str(error.value)


# resuming


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Vid2VidModels, dict]:
    """A run saved after one clip: its folder, its networks, the states of its optimizers."""
    folder, networks = tmp_path_factory.mktemp("run"), tiny_networks(OPTIONS)
    trainer = tiny_trainer(OPTIONS, networks)
    trainer.train_clip(
        street_clip(6, 32, 48, load=2), compute_epoch_settings(1, trainer.config.schedule)
    )
    torch.manual_seed(5)
    save_latest(
        folder, networks, trainer.optimizers, RunState(2, 7, 3), configs.stringify_options(OPTIONS)
    )
    optimizer_states = {
        name: optimizer.state_dict() for name, optimizer in trainer.optimizers.items()
    }
    return folder, networks, optimizer_states


def resume(folder: Path, networks: Vid2VidModels, optimizers: dict[str, Optimizer]) -> RunState:
    return restore_checkpoint(folder, read_training_state(folder), networks, optimizers)


def make_networks_and_optimizers(
    options: Options = OPTIONS,
) -> tuple[Vid2VidModels, dict[str, Optimizer]]:
    networks = tiny_networks(options, seed=9)
    return networks, build_optimizers(networks, configs.optimizer_config(options))


def test_resume_restores_bitwise_equal_state(saved_run: tuple[Path, Vid2VidModels, dict]) -> None:
    folder, before, optimizer_states = saved_run
    networks, optimizers = make_networks_and_optimizers()
    assert not is_bitwise_equal(copy_state_dicts(networks), copy_state_dicts(before))
    torch.manual_seed(1)
    assert resume(folder, networks, optimizers) == RunState(2, 7, 3)
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert is_bitwise_equal(copy_state_dicts(networks), copy_state_dicts(before))
    assert is_bitwise_equal(
        {name: o.state_dict() for name, o in optimizers.items()}, optimizer_states
    )
    assert optimizer_states["G"]["state"] and optimizer_states["D_T0"]["state"]


def test_next_step_after_resume_is_bitwise_equal(
    saved_run: tuple[Path, Vid2VidModels, dict],
) -> None:
    results = []
    for _ in range(2):
        networks, optimizers = make_networks_and_optimizers()
        resume(saved_run[0], networks, optimizers)
        trainer = tiny_trainer(OPTIONS, networks)
        trainer.optimizers.update(trainer.device_setup.wrap_optimizers(optimizers, None))
        trained = trainer.train_clip(
            street_clip(6, 32, 48, load=2), compute_epoch_settings(1, trainer.config.schedule)
        )
        results.append((trained.losses, copy_state_dicts(networks)))
    assert is_bitwise_equal(*results)


def test_saved_run_has_the_published_files(saved_run: tuple[Path, Vid2VidModels, dict]) -> None:
    folder, networks, _ = saved_run
    names = {
        "latest_state.pth",
        "iter.txt",
        *(f"latest_net_{n}.pth" for n in ("G0", "D", "D_T0", "D_T1")),
    }
    assert {file.name for file in folder.iterdir()} == names
    assert (folder / "iter.txt").read_text().split() == ["2", "21"]
    exported = torch.load(get_weights_path(folder, "latest", "G0"), weights_only=True)
    assert is_bitwise_equal(dict(exported), dict(networks.netG[0].state_dict()))


def test_resume_with_other_networks_is_refused(saved_run: tuple[Path, Vid2VidModels, dict]) -> None:
    for flags, message in (
        (
            "--n_scales_temporal 1",
            "holds the networks G0, D, D_T0, D_T1, but the options define G0",
        ),
        ("--ngf 4", "another shape.*use the options"),
    ):
        with pytest.raises(UserError, match=message) as error:
            resume(saved_run[0], *make_networks_and_optimizers(tiny_options(f"{FLAGS} {flags}")))
        assert is_one_line(error)


@pytest.mark.parametrize("content", [{"run": {}}, {"G0": torch.zeros(1)}])
def test_other_file_is_refused_as_state(content: dict, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "latest_state.pth")
    with pytest.raises(
        UserError, match=r"latest_state\.pth lacks .*networks.*not a training state"
    ):
        resume(tmp_path, *make_networks_and_optimizers())


def test_resume_without_a_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"latest_state\.pth is not there.*--continue_train"):
        resume(tmp_path, *make_networks_and_optimizers())


# initialization from a coarser stage


def test_second_scale_initializes_from_the_first(tmp_path: Path) -> None:
    coarse = save_run(tmp_path, FLAGS)
    networks = tiny_networks(
        tiny_options(f"{FLAGS} --n_scales_spatial 2 --num_D 3 --n_scales_temporal 3")
    )
    initial = copy_state_dicts(networks)
    messages = load_pretrained(networks, tmp_path, "latest")
    loaded, saved = copy_state_dicts(networks), copy_state_dicts(coarse)
    assert is_bitwise_equal(loaded["G0"], saved["G0"]) and is_bitwise_equal(
        loaded["G1"], initial["G1"]
    )
    assert all(
        is_bitwise_equal(loaded["D"][key], (saved["D"] if key in saved["D"] else initial["D"])[key])
        for key in loaded["D"]
    )
    assert [line.split(" starts fresh")[0] for line in messages] == [
        "G1",
        "D scale2",
        "D_T0 scale2",
        "D_T1 scale2",
        "D_T2",
    ]
    assert "latest_net_G1.pth" in messages[0]


def test_temporal_discriminator_of_other_n_frames_D_is_reinitialized(tmp_path: Path) -> None:
    save_run(tmp_path, FLAGS)
    networks = tiny_networks(tiny_options(f"{FLAGS} --n_frames_D 2"))
    initial = copy_state_dicts(networks)
    messages = load_pretrained(networks, tmp_path, "latest")
    assert [line.split(" starts")[0] for line in messages] == [
        f"D_T{s} scale{i}" for s in (0, 1) for i in (0, 1)
    ]
    assert is_bitwise_equal(
        copy_state_dicts(networks)["D_T0"], initial["D_T0"]
    ) and not is_bitwise_equal(copy_state_dicts(networks)["D"], initial["D"])


def test_same_stage_loads_completely_without_a_message(tmp_path: Path) -> None:
    saved = save_run(tmp_path, FLAGS)
    networks = tiny_networks(OPTIONS)
    assert load_pretrained(networks, tmp_path, "latest") == []
    assert is_bitwise_equal(copy_state_dicts(networks), copy_state_dicts(saved))


@pytest.mark.parametrize(
    "flags", ["--ngf 4", "--n_blocks 4", "--no_flow", "--use_instance", "--fg --fg_labels 1"]
)
def test_a_generator_of_another_shape_is_refused(flags: str, tmp_path: Path) -> None:
    save_run(tmp_path, FLAGS)
    networks = tiny_networks(tiny_options(f"{FLAGS} {flags}"))
    with pytest.raises(
        UserError,
        match=r"latest_net_G0\.pth do not match the network: \d+ (missing|unexpected|of anoth)",
    ) as error:
        load_pretrained(networks, tmp_path, "latest")
    assert is_one_line(error)


def test_weights_of_an_epoch_are_saved_and_loaded(tmp_path: Path) -> None:
    saved = tiny_networks(OPTIONS, seed=3)
    save_weights(tmp_path, "12", saved)
    networks = tiny_networks(OPTIONS)
    load_generators(networks.netG, tmp_path, "12")
    assert is_bitwise_equal(dict(networks.netG.state_dict()), dict(saved.netG.state_dict()))
    with pytest.raises(UserError, match=r"11_net_G0\.pth is not there.*--which_epoch"):
        load_generators(networks.netG, tmp_path, "11")


# Broken files


class ExecutesCode:
    def __reduce__(self) -> tuple:
        return (Path.write_text, (Path("ran"), "code"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a file of weights"),
        (b"not a checkpoint at all", "not a file of weights"),
        (
            pickle.dumps({"model_down_seg.1.weight": ExecutesCode()}, protocol=2),
            "not a file of weights",
        ),
        (pickle.dumps([1], protocol=2), "not a file of weights|holds a list"),
    ],
)
def test_broken_files_are_refused(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    get_weights_path(tmp_path, "latest", "G0").write_bytes(content)
    with pytest.raises(UserError, match=rf"net_G0\.pth.*({message})") as error:
        load_generators(tiny_networks(OPTIONS).netG, tmp_path, "latest")
    assert is_one_line(error) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("fraction", [0.2, 0.9, 0.999])
def test_a_truncated_file_is_refused(fraction: float, tmp_path: Path) -> None:
    save_run(tmp_path, FLAGS)
    file = get_weights_path(tmp_path, "latest", "G0")
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * fraction)])
    with pytest.raises(UserError, match=r"latest_net_G0\.pth is not a file of weights") as error:
        load_generators(tiny_networks(OPTIONS).netG, tmp_path, "latest")
    assert is_one_line(error)


def test_code_in_a_saved_file_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(
        {"model_down_seg.1.weight": ExecutesCode()}, get_weights_path(tmp_path, "latest", "G0")
    )
    with pytest.raises(UserError, match=r"net_G0\.pth is not a file of weights") as error:
        load_generators(tiny_networks(OPTIONS).netG, tmp_path, "latest")
    assert is_one_line(error) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{"a": 1}, {"model_down_seg.1.weight": 3}, {1: torch.zeros(1)}])
def test_checkpoints_of_other_models_are_refused(content: dict, tmp_path: Path) -> None:
    torch.save(content, get_weights_path(tmp_path, "latest", "G0"))
    with pytest.raises(UserError, match=r"net_G0\.pth.*(missing|expected named weights)"):
        load_generators(tiny_networks(OPTIONS).netG, tmp_path, "latest")


def test_failed_save_keeps_the_old_files(
    saved_run: tuple[Path, Vid2VidModels, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(tmp_path, FLAGS)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    save, calls = torch.save, []

    def fail_at_third_call(content: object, file: Path) -> None:
        calls.append(file)
        if len(calls) == 3:
            raise OSError("no space left on device")
        save(content, file)

    monkeypatch.setattr(torch, "save", fail_at_third_call)
    with pytest.raises(OSError, match="no space"):
        save_weights(tmp_path, "latest", saved_run[1])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_folder_without_a_generator_is_refused_for_every_model(tmp_path: Path) -> None:
    options = parse_train(
        ["--model", "single", "--netG", "global", "--label_nc", "5", "--ngf", "4", "--ndf", "4"]
    )
    networks = MODEL_REGISTRY["single"].build_networks(options)
    with pytest.raises(UserError, match=r"latest_net_G\.pth is not there.*--load_pretrain"):
        load_pretrained(networks, tmp_path, "latest")
