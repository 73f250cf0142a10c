"""Single-image networks: published keys, wiring against reference layers, and configurations inferred from files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.inference.feature_table import write_feature_table
from models.inference.instance_features import (
    extract_region_features,
    fill_regions,
    find_nearest_face,
)
from models.inference.single_image import (
    find_single_image_files,
    infer_encoder_config,
    infer_single_image_config,
    load_single_image_model,
)
from models.networks.blocks import TrackedInstanceNorm2d, avg_pool_half
from models.networks.pix2pixhd import (
    Encoder,
    EncoderConfig,
    SingleImageConfig,
    build_single_image_generator,
)
from models.networks.region_pooling import average_regions
from tests.parity_weights import make_random_weights
from util.errors import UserError

KEYS = Path(__file__).parents[2] / "parity" / "keys"
STREET = json.loads((KEYS / "label2city_single.json").read_text())
FACE = json.loads((KEYS / "edge2face_single.json").read_text())
CITY_512 = SingleImageConfig("global", 35, width=64, n_downsample=3)
CITY_2048 = SingleImageConfig("local", 35, width=32, n_downsample=4)
FACE_512 = SingleImageConfig("global_with_features", 15, n_features=16, width=64, n_downsample=3)
SMALL = [
    SingleImageConfig("global", 5, width=2, n_downsample=2, n_blocks=2, norm="batch"),
    SingleImageConfig(
        "local", 5, width=2, n_downsample=1, n_blocks=0, n_blocks_local=1, n_enhancers=2
    ),
    SingleImageConfig("global_with_features", 5, 3, width=2, n_downsample=1, n_blocks=1),
    SingleImageConfig(
        "local_with_features", 5, 3, width=2, n_downsample=2, n_blocks=1, n_blocks_local=2
    ),
]


def shapes(network):
    return [[key, list(value.shape)] for key, value in network.state_dict().items()]


def build_on_meta(config):
    with torch.device("meta"):
        return (
            Encoder(config)
            if isinstance(config, EncoderConfig)
            else build_single_image_generator(config)
        )


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (CITY_512, STREET["latest_net_G_512.pth"]),
        (CITY_2048, STREET["latest_net_G_2048.pth"]),
        (FACE_512, FACE["latest_net_G.pth"]),
        (EncoderConfig(16, 16, 4), FACE["latest_net_E.pth"]),
    ],
)
def test_published_keys_and_shapes(config, published):
    assert shapes(build_on_meta(config)) == [row[:2] for row in published]


def test_a_global_network_is_never_wider_than_1024():
    assert (
        max(
            shape[0]
            for _, shape in shapes(
                build_on_meta(SingleImageConfig("global", 3, width=64, n_downsample=6))
            )
            if shape
        )
        == 1024
    )


@pytest.mark.parametrize("config", [CITY_512, CITY_2048, FACE_512, *SMALL])
def test_network_type_is_inferred_from_the_file(config):
    inferred = infer_single_image_config(build_on_meta(config).state_dict(), Path("file"))
    assert shapes(build_on_meta(inferred)) == shapes(build_on_meta(config))
    assert (inferred.kind, inferred.norm, inferred.size_multiple) == (
        config.kind,
        config.norm,
        config.size_multiple,
    )


def test_encoder_config_is_inferred_from_the_file():
    config = EncoderConfig(7, 3, 2, "batch")
    assert infer_encoder_config(build_on_meta(config).state_dict(), Path("file")) == config


@pytest.mark.parametrize(
    "state", [{"model.1.bias": torch.zeros(1)}, build_on_meta(EncoderConfig()).state_dict()]
)
def test_another_networks_file_is_refused(tmp_path, state):
    torch.save(
        {key: torch.zeros(value.shape) for key, value in state.items()}, tmp_path / "x_net_G.pth"
    )
    with pytest.raises(UserError, match="x_net_G"):
        load_single_image_model(
            find_single_image_files(tmp_path / "x_net_G.pth"), torch.device("cpu")
        )


def run_reference_layers(state, stack, x):
    """Run a published stack, inferred from its keys and shapes, with instance norm and ReLU between."""

    def normalize(y):
        return (y - y.mean((2, 3), keepdim=True)) / (
            y.var((2, 3), unbiased=False, keepdim=True) + 1e-5
        ).sqrt()

    def conv3(y, key):
        return normalize(
            F.conv2d(
                F.pad(y, (1,) * 4, mode="reflect"), state[f"{key}.weight"], state[f"{key}.bias"]
            )
        )

    convs = sorted(
        {
            int(key.split(".")[1])
            for key, value in state.items()
            if key.startswith(f"{stack}.") and value.ndim == 4
        }
    )
    for index in convs:
        block = f"{stack}.{index}.conv_block"
        if f"{block}.1.weight" in state:
            x = x + conv3(F.relu(conv3(x, f"{block}.1")), f"{block}.5")
            continue
        weight, bias = state[f"{stack}.{index}.weight"], state[f"{stack}.{index}.bias"]
        if weight.shape[-1] == 7:
            x = F.conv2d(F.pad(x, (3,) * 4, mode="reflect"), weight, bias)
            if len(weight) == 3 and index == convs[-1]:
                return torch.tanh(x)
        elif weight.shape[1] == x.shape[1] and weight.shape[0] > weight.shape[1]:
            x = F.conv2d(x, weight, bias, stride=2, padding=1)
        else:
            x = F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=1)
        x = F.relu(normalize(x))
    return x


def with_random_weights(network):
    network.load_state_dict(make_random_weights([(k, s) for k, s in shapes(network)], seed=3))
    return network.eval(), network.state_dict()


@torch.no_grad()
def test_local_enhancer_adds_global_features():
    network, state = with_random_weights(
        build_single_image_generator(
            SingleImageConfig(
                "local", 4, width=2, n_downsample=1, n_blocks=1, n_blocks_local=1, n_enhancers=2
            )
        )
    )
    x = torch.randn(2, 4, 32, 24, generator=torch.Generator().manual_seed(0))
    half, quarter = avg_pool_half(x), avg_pool_half(avg_pool_half(x))
    y = run_reference_layers(
        state,
        "model1_2",
        run_reference_layers(state, "model1_1", half)
        + run_reference_layers(state, "model", quarter),
    )
    y = run_reference_layers(state, "model2_2", run_reference_layers(state, "model2_1", x) + y)
    assert torch.allclose(network(x), y, atol=1e-5)


@torch.no_grad()
def test_instance_features_are_concatenated_at_the_specified_layer():
    x, z = (torch.randn(1, c, 32, 16, generator=torch.Generator().manual_seed(c)) for c in (4, 3))

    def trunk(state, x, z):
        small = avg_pool_half(avg_pool_half(z))
        deep = run_reference_layers(
            state,
            "model_resnet",
            torch.cat(
                [run_reference_layers(state, "model_downsample", torch.cat([x, z], 1)), small], 1
            ),
        )
        return run_reference_layers(state, "model_upsample", torch.cat([deep, small], 1))

    network, state = with_random_weights(
        build_single_image_generator(
            SingleImageConfig("global_with_features", 4, 3, width=2, n_downsample=2, n_blocks=1)
        )
    )
    y = run_reference_layers(state, "model_upsample_conv", torch.cat([trunk(state, x, z), z], 1))
    assert torch.allclose(network(x, z), y, atol=1e-5)

    network, state = with_random_weights(
        build_single_image_generator(
            SingleImageConfig(
                "local_with_features", 4, 3, width=2, n_downsample=2, n_blocks=1, n_blocks_local=1
            )
        )
    )
    below = run_reference_layers(state, "model1_1", torch.cat([x, z], 1)) + trunk(
        state, avg_pool_half(x), avg_pool_half(z)
    )
    y = torch.cat(
        [run_reference_layers(state, "model1_2", torch.cat([below, avg_pool_half(z)], 1)), z], 1
    )
    assert torch.allclose(network(x, z), run_reference_layers(state, "model_final", y), atol=1e-5)


def test_region_means_equal_a_loop():
    maps = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    regions = torch.randint(0, 4, (2, 1, 6, 5), generator=torch.Generator().manual_seed(2)) * 1000
    means = average_regions(maps, regions)
    for b in range(2):
        for region in regions[b].unique():
            where = regions[b, 0] == region
            for c in range(3):
                assert torch.allclose(means[b, c][where], maps[b, c][where].mean(), atol=1e-6)
    means.square().sum().backward()  # gradients flow through the mean
    assert torch.allclose(maps.grad, 2 * means.detach(), atol=1e-5)


def test_regions_are_filled_with_their_own_features():
    regions = torch.tensor([[0, 0, 7], [26001, 7, 7]])
    values = torch.randn(2, 3)[:, [[0, 0, 1], [2, 1, 1]]]
    assert torch.equal(fill_regions(extract_region_features(values, regions), regions), values)


def test_nearest_face_matches_its_definition():
    rng = np.random.default_rng(5)
    table = {
        part: rng.normal(size=(rows, 5)) for part, rows in {0: 9, 1: 9, 2: 4, 5: 9, 6: 7}.items()
    }
    own = {
        part: rng.normal(size=4) for part in (0, 2, 5, 3)
    }  # 3 is not in the table; 1 and 6 not in the image
    distances = [
        sum(
            ((table[part][min(m, len(table[part]) - 1), :4] - own[part]) ** 2).sum()
            for part in (0, 2, 5)
        )
        for m in range(7)
    ]
    chosen = int(np.argmin(distances))
    nearest = find_nearest_face(own, table)
    assert set(nearest) == set(own)
    assert np.array_equal(nearest[3], own[3])
    for part in (0, 2, 5):
        assert np.array_equal(nearest[part], table[part][min(chosen, len(table[part]) - 1), :4])


def test_files_without_running_statistics_load_too(tmp_path):
    network = build_single_image_generator(SMALL[1])
    assert any(isinstance(module, TrackedInstanceNorm2d) for module in network.modules())
    state = {
        key: value
        for key, value in network.state_dict().items()
        if "running" not in key and "num_" not in key
    }
    torch.save(state, tmp_path / "latest_net_G.pth")
    loaded = load_single_image_model(find_single_image_files(tmp_path), torch.device("cpu"))
    x = torch.randn(1, 5, 16, 16)
    assert torch.equal(loaded.netG(x), network(x))


def test_feature_table_of_another_training_is_refused(tmp_path):
    torch.save(build_single_image_generator(SMALL[2]).state_dict(), tmp_path / "latest_net_G.pth")
    torch.save(Encoder(EncoderConfig(3, 2, 1)).state_dict(), tmp_path / "latest_net_E.pth")
    write_feature_table(tmp_path / "features.npy", {0: np.zeros((2, 6))})
    with pytest.raises(
        UserError, match="takes 3 features, latest_net_E.pth gives 3 and features.npy holds 5"
    ):
        load_single_image_model(find_single_image_files(tmp_path), torch.device("cpu"))
