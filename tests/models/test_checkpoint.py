"""Network weights on disk, and the options inferred from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.checkpoint import (
    describe_mismatch,
    get_weights_path,
    infer_options,
    load_generators,
)
from models.networks.discriminators import DiscriminatorConfig, MultiScaleDiscriminator
from models.networks.generators import GeneratorConfig, build_generator
from util.errors import UserError
from util.io.state_dict import safe_load_state_dict

BASE = GeneratorConfig(
    condition_channels=5, width=8, n_downsample=2, n_blocks=4, n_blocks_local=2, n_scales=2
)


def save_generators(folder: Path, config: GeneratorConfig, **save_options: bool) -> None:
    folder.mkdir(exist_ok=True)
    for scale, network in enumerate(build_generator(config)):
        path = get_weights_path(folder, "latest", f"G{scale}")
        torch.save(network.state_dict(), path, **save_options)


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_old_torch_versions_load(tmp_path: Path, zipped: bool) -> None:
    save_generators(tmp_path, BASE, _use_new_zipfile_serialization=zipped)
    networks = build_generator(BASE)
    assert load_generators(networks, tmp_path, "latest") == []
    saved = safe_load_state_dict(get_weights_path(tmp_path, "latest", "G0"), "")
    for key, value in networks[0].state_dict().items():
        assert torch.equal(value, saved[key])


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"width": 16}, "--ngf (of this scale) 16 in the file, 8 in this run"),
        ({"condition_channels": 6}, "--use_instance) 6 in the file, 5 in this run"),
        ({"n_frames_G": 4}, "--n_frames_G 4 in the file, 3 in this run"),
        ({"norm": "instance"}, "--norm instance in the file, batch in this run"),
        ({"n_downsample": 3}, "--n_downsample_G 3 in the file, 2 in this run"),
        ({"n_blocks": 6}, "--n_blocks 6 in the file, 4 in this run"),
        ({"flow": False}, "--no_flow set in the file, not set in this run"),
        ({"foreground": (1,)}, "--fg set in the file, not set in this run"),
        ({"n_scales": 3}, "--n_scales_spatial"),
        ({"n_scales": 1}, "latest_net_G1.pth is not there"),
        ({"n_blocks_local": 3}, "--n_blocks_local 3 in the file, 2 in this run"),
    ],
)
def test_weights_of_other_networks_are_refused_naming_the_flag(
    tmp_path: Path, change: dict, flag: str
) -> None:
    save_generators(tmp_path, replace(BASE, **change))
    with pytest.raises(UserError) as error:
        load_generators(build_generator(BASE), tmp_path, "latest")
    assert flag in str(error.value)


def test_discriminator_options_are_inferred_from_weights() -> None:
    config = DiscriminatorConfig(width=8, n_layers=2, n_scales=2)
    expected = MultiScaleDiscriminator(6, config).state_dict()
    other = MultiScaleDiscriminator(
        9, replace(config, n_layers=3, n_scales=1, norm="instance")
    ).state_dict()
    assert infer_options(expected)["--n_layers_D"] == 2
    assert all(
        f"{flag} " in describe_mismatch(expected, other)
        for flag in ("--num_D 1", "--n_layers_D 3", "--norm instance")
    )
    no_features = MultiScaleDiscriminator(6, replace(config, returns_features=False)).state_dict()
    assert describe_mismatch(expected, no_features).endswith(
        "--no_ganFeat set in the file, not set in this run"
    )


def test_partial_loading_reports_how_much_was_loaded(tmp_path: Path) -> None:
    save_generators(tmp_path, replace(BASE, n_blocks=6))
    networks = build_generator(BASE)
    before = [value.clone() for value in networks[0].state_dict().values()]
    lines = load_generators(networks, tmp_path, "latest", allow_partial=True)
    changed = sum(
        not torch.equal(a, b)
        for a, b in zip(before, networks[0].state_dict().values(), strict=True)
    )
    assert changed and f" of {len(before)} weights loaded" in lines[0]


def test_flipped_bit_is_detected(tmp_path: Path) -> None:
    save_generators(tmp_path, BASE)
    path = get_weights_path(tmp_path, "latest", "G0")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="checksum"):
        load_generators(build_generator(BASE), tmp_path, "latest")
