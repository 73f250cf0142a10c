"""Looks at a whole data set before training: `python scripts/check_data.py DATAROOT [the flags of train.py]`.

Prints what every sequence holds, a line for every fault, and the label flags that fit; exit code 1 if there are faults.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.sequences import FrameSequence, find_sequences
from data.validation import convert_to_label_ids, inspect_sequence, suggest_flags
from options import configs
from options.parsing import parse_options
from options.train import build_train_parser
from util.errors import UserError, exit_on_user_error
from util.images.visualization import save_image

_MAX_PRINTED_FAULTS = 3  # faults of one sequence; a data set in the wrong format has one a frame


def write_label_id_maps(sequences: tuple[FrameSequence, ...], folder: Path) -> None:
    """All label maps with Cityscapes' 35 ids, under the same names."""
    for sequence in sequences:
        for path in sequence.files["condition"]:
            save_image(
                folder / sequence.name / f"{path.stem}.png", np.asarray(convert_to_label_ids(path))
            )
    print(
        f"label maps with 35 ids are in {folder}: make that the data set's A folder, and give --label_nc 35"
    )


def main() -> None:
    parser = build_train_parser()
    parser.description = (__doc__ or "").split("\n")[0]
    parser.add_argument("root", type=Path, metavar="DATAROOT")
    parser.add_argument(
        "--to_ids",
        type=Path,
        metavar="FOLDER",
        help="write label maps of training ids as the 35 ids",
    )
    options = parse_options(parser, None)
    domain = configs.build_frame_reader(options)
    sequences = find_sequences(
        options.root, options.phase, domain.folder_specs(uses_images=True), options.allow_links
    )
    labels: Counter[int] = Counter()
    n_faults = 0
    for sequence in tqdm(sequences, unit="sequence", disable=None):
        found = inspect_sequence(
            sequence,
            domain,
            configs.transform_config(options),
            options.n_frames_G,
            options.label_nc,
        )
        print(*found.format_lines(), sep="\n")
        for fault in found.errors[:_MAX_PRINTED_FAULTS]:
            print(f"  fault: {fault}")
        if len(found.errors) > _MAX_PRINTED_FAULTS:
            print(f"  and {len(found.errors) - _MAX_PRINTED_FAULTS} more in this sequence")
        labels += found.label_counts
        n_faults += len(found.errors)
    print(*suggest_flags(labels), f"{len(sequences)} sequences, {n_faults} faults", sep="\n")
    if options.to_ids:
        if "condition" not in sequences[0].files or not options.label_nc:
            raise UserError(
                "--to_ids rewrites label maps: it needs --dataset_mode temporal and --label_nc"
            )
        write_label_id_maps(sequences, options.to_ids)
    sys.exit(n_faults > 0)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
