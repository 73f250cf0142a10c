"""State dicts of the published configurations, built from their recipes' flags: same keys, order and shapes."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from models.losses.perceptual import PerceptualLoss
from models.networks.collection import Vid2VidModels, build_models
from models.networks.generators import build_generator
from options import configs
from options.test import parse_test
from options.train import parse_train
from util.runtime.torchvision_compat import import_torchvision

KEYS = Path(__file__).parents[2] / "parity/keys"

STREET = "--label_nc 35 --use_instance --fg"
FACE = "--dataset_mode face --input_nc 15"
POSE = "--dataset_mode pose --input_nc 6 --no_first_img"
GENERATORS = {
    "label2city_2048": f"{STREET} --n_scales_spatial 3 --use_real_img",
    "label2city_1024_g1": f"{STREET} --n_scales_spatial 3 --n_downsample_G 2 --use_real_img",
    "edge2face_512": f"{FACE} --use_real_img",
    "pose2body_1024p": f"{POSE} --n_scales_spatial 3 --resize_or_crop scaleHeight --loadSize 1024",
    "openpose_only_512p": "--dataset_mode pose --input_nc 3 --openpose_only --no_first_img --n_scales_spatial 2",
}
DISCRIMINATORS = {
    "discriminators_street": f"{STREET} --loadSize 512",
    "discriminators_pose_1024p": f"{POSE} --n_scales_spatial 3 --num_D 4 --add_face_disc --loadSize 1536 "
    "--fineSize 1024 --resize_or_crop randomScaleHeight_and_scaledCrop",
    "discriminators_no_ganFeat": f"{STREET} --no_ganFeat",
}


def read_published(name: str) -> dict[str, list[list]]:
    return json.loads((KEYS / f"{name}.json").read_text())


def shapes(network: nn.Module) -> list[list]:
    return [[key, list(tensor.shape)] for key, tensor in network.state_dict().items()]


def build_on_meta(flags: str) -> Vid2VidModels:
    """Build the networks of a training run at full size on the meta device."""
    options = parse_train(flags.split())
    with torch.device("meta"):
        return build_models(
            configs.generator_config(options),
            configs.discriminator_config(options),
            configs.temporal_config(options),
            options.add_face_disc,
        )


@pytest.mark.parametrize("name", GENERATORS)
def test_generator_keys_and_shapes_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        networks = build_generator(configs.generator_config(parse_test(GENERATORS[name].split())))
    assert {
        f"latest_net_G{i}.pth": shapes(network) for i, network in enumerate(networks)
    } == read_published(name)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminator_keys_and_shapes_are_the_published_ones(name: str) -> None:
    named, expected = build_on_meta(DISCRIMINATORS[name]).named_networks(), read_published(name)
    assert {part: shapes(named[part]) for part in expected} == expected


def test_training_builds_the_generators_that_synthesis_loads() -> None:
    generator = build_on_meta(GENERATORS["label2city_2048"].replace("--use_real_img", "")).netG
    assert {
        f"latest_net_G{i}.pth": shapes(network) for i, network in enumerate(generator)
    } == read_published("label2city_2048")


def test_every_temporal_scale_has_a_discriminator_and_the_face_one_of_two_scales_fewer() -> None:
    named = build_on_meta(
        f"{POSE} --num_D 3 --add_face_disc --n_scales_temporal 2 --n_frames_D 2"
    ).named_networks()
    assert list(named) == ["G0", "D", "D_T0", "D_T1", "D_f"]
    assert named["D_T0"].state_dict()["scale0_layer0.0.weight"].shape[1] == 2 * 3 + 2
    assert named["D_f"].config.n_scales == 1


def test_vgg19_keys_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        whole, used = (
            import_torchvision().models.vgg19(weights=None).features,
            PerceptualLoss().features,
        )
    expected = read_published("vgg19_features")["features"]
    assert shapes(whole) == expected
    assert shapes(used) == expected[: len(shapes(used))] and shapes(used)[-1][0] == "28.bias"
