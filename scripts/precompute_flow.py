"""Fills a flow cache before training: `python scripts/precompute_flow.py --flow_cache DIR FLAGS OF train.py`.

Flow is estimated between all pictures that training with these flags may compare. Cut off, it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence

from data.pictures import read_picture
from data.sequences import find_sequences
from models.flow import choose_flow
from models.flow.cache import FlowCache
from models.flow.fill import file_pairs, fill
from models.temporal import flow_distances
from options import configs
from options.train import parse_train
from util.errors import UserError, reported
from util.placement import PlacementConfig, place


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_train(argv)
    if options.flow_cache is None:
        raise UserError("--flow_cache is not given: name the folder to fill, and give it to train.py too")
    device = place(PlacementConfig(options.gpu_ids)).device
    sequences = find_sequences(options.dataroot, options.phase, configs.domain(options).streams(picture=True),
                               options.allow_links)
    reference, why = choose_flow(configs.flow(options), device)
    print(why)
    pairs = file_pairs([sequence.files["picture"] for sequence in sequences],
                       flow_distances(options.max_t_step, configs.temporal(options)))
    fill(FlowCache.of(options.flow_cache, reference), pairs, reference, read_picture, device)
    print(f"{len(pairs)} flows are in {options.flow_cache}")


if __name__ == "__main__":
    with reported():
        main()
