"""Fills a flow cache before training: `python scripts/precompute_flow.py --flow_cache DIR FLAGS OF train.py`.

Flow is estimated between all images that training with these flags may compare. Cut off, it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence

from data.image_io import read_image
from data.sequences import find_sequences
from models.flow import build_flow_estimator
from models.flow.cache import FlowCache
from models.flow.precompute import list_file_pairs, precompute_flow
from models.losses.temporal_groups import compute_flow_strides
from options import configs
from options.train import parse_train
from util.distributed import DeviceConfig, setup_devices
from util.errors import UserError, exit_on_user_error


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_train(argv)
    if options.flow_cache is None:
        raise UserError(
            "--flow_cache is not given: name the folder to fill, and give it to train.py too"
        )
    device = setup_devices(DeviceConfig(options.gpu_ids)).device
    sequences = find_sequences(
        options.dataroot,
        options.phase,
        configs.build_frame_reader(options).folder_specs(uses_images=True),
        options.allow_symlinks,
    )
    reference, why = build_flow_estimator(configs.flow_config(options), device)
    print(why)
    pairs = list_file_pairs(
        [sequence.files["image"] for sequence in sequences],
        compute_flow_strides(options.max_t_step, configs.temporal_config(options)),
    )
    precompute_flow(
        FlowCache.for_estimator(options.flow_cache, reference), pairs, reference, read_image, device
    )
    print(f"{len(pairs)} flows are in {options.flow_cache}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
