"""Fill a flow cache before training.

`python scripts/precompute_flow.py --flow_cache DIR FLAGS OF train.py` estimates the flow of all image pairs that
training with these flags may need. An interrupted run continues where it stopped.
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
    """Run the command line."""
    opt = parse_train(argv)
    if opt.flow_cache is None:
        raise UserError(
            "--flow_cache is not given: name the folder to fill, and pass it to train.py too"
        )
    device = setup_devices(DeviceConfig(opt.gpu_ids)).device
    folder_specs = configs.build_frame_reader(opt).folder_specs(uses_images=True)
    sequences = find_sequences(opt.dataroot, opt.phase, folder_specs, opt.allow_symlinks)
    flow_estimator, summary = build_flow_estimator(configs.flow_config(opt), device)
    print(summary)
    strides = compute_flow_strides(opt.max_t_step, configs.temporal_config(opt))
    pairs = list_file_pairs([sequence.files["image"] for sequence in sequences], strides)
    cache = FlowCache.for_estimator(opt.flow_cache, flow_estimator)
    precompute_flow(cache, pairs, flow_estimator, read_image, device)
    print(f"{opt.flow_cache} holds the flow of {len(pairs)} image pairs")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
