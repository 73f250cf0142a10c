"""Networks by name, their optimizers and their initialization."""

import pytest
import torch

from models.networks.collection import build_models, build_optimizers
from models.training.schedule import set_learning_rates
from options import configs
from tests.tiny import tiny_networks, tiny_options

NETWORKS = tiny_networks(
    tiny_options(
        "--dataset_mode pose --input_nc 6 --add_face_disc --n_scales_spatial 2 --n_scales_temporal 2"
    )
)


def test_every_weight_has_exactly_one_optimizer() -> None:
    by_optimizer = NETWORKS.parameters_by_optimizer()
    assert list(by_optimizer) == ["G", "D", "D_T0", "D_T1"]
    optimized = [id(p) for parameters in by_optimizer.values() for p in parameters]
    all_ids = [
        id(p) for network in NETWORKS.named_networks().values() for p in network.parameters()
    ]
    assert sorted(optimized) == sorted(all_ids)


def test_face_discriminator_is_in_D_and_all_scales_are_in_G() -> None:
    named, by_optimizer = NETWORKS.named_networks(), NETWORKS.parameters_by_optimizer()
    assert {id(p) for p in named["D_f"].parameters()} < {id(p) for p in by_optimizer["D"]}
    assert {id(p) for name in ("G0", "G1") for p in named[name].parameters()} == {
        id(p) for p in by_optimizer["G"]
    }


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--lr 0.002 --beta1 0.4", dict.fromkeys(("G", "D", "D_T0"), (0.002, (0.4, 0.999)))),
        (
            "--lr 0.002 --beta1 0.4 --TTUR",
            {"G": (0.001, (0.0, 0.9)), "D": (0.004, (0.0, 0.9)), "D_T0": (0.002, (0.4, 0.999))},
        ),
    ],
)
def test_ttur_changes_only_G_and_D_learning_rates(flags: str, expected: dict) -> None:
    options = tiny_options(flags)
    optimizers = build_optimizers(tiny_networks(options), configs.optimizer_config(options))
    rates = {
        name: (o.param_groups[0]["lr"], o.param_groups[0]["betas"])
        for name, o in optimizers.items()
    }
    assert rates == expected
    set_learning_rates(optimizers, 0.25)
    set_learning_rates(optimizers, 0.5)  # relative to the initial rates
    assert {name: o.param_groups[0]["lr"] for name, o in optimizers.items()} == {
        name: lr / 2 for name, (lr, _) in expected.items()
    }


def test_weights_are_initialized_as_published() -> None:
    torch.manual_seed(0)
    options = tiny_options("--ngf 32")
    state = (
        build_models(
            configs.generator_config(options),
            configs.discriminator_config(options),
            configs.temporal_config(options),
            has_face_discriminator=False,
        )
        .netG[0]
        .state_dict()
    )
    kernel, scale = state["model_down_seg.1.weight"], state["model_down_seg.2.weight"]
    assert kernel.mean().abs() < 1e-3 and kernel.std() == pytest.approx(0.02, rel=0.05)
    assert scale.mean() == pytest.approx(1, abs=0.02) and not state["model_down_seg.2.bias"].any()
    assert state["model_down_seg.1.bias"].abs().max() <= (kernel[0].numel()) ** -0.5 + 1e-6
