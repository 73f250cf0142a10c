"""Looks at a whole data set before training: `python scripts/check_data.py DATAROOT [the flags of train.py]`.

Prints what every sequence holds, a line for every fault, and the label flags that fit; exit code 1 if there are faults.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.findings import check_sequence, suggestions, to_ids
from data.sequences import Sequence, find_sequences
from options import configs
from options.parsing import parse
from options.train import training_parser
from util.errors import UserError, reported
from util.pictures import save_picture

SHOWN = 3  # faults of one sequence; a data set in the wrong format has one a frame


def rewrite(sequences: tuple[Sequence, ...], folder: Path) -> None:
    """All label maps with Cityscapes' 35 ids, under the same names."""
    for sequence in sequences:
        for path in sequence.files["condition"]:
            save_picture(folder / sequence.name / f"{path.stem}.png", np.asarray(to_ids(path)))
    print(f"label maps with 35 ids are in {folder}: make that the data set's A folder, and give --label_nc 35")


def main() -> None:
    parser = training_parser()
    parser.description = (__doc__ or "").split("\n")[0]
    parser.add_argument("root", type=Path, metavar="DATAROOT")
    parser.add_argument("--to_ids", type=Path, metavar="FOLDER", help="write label maps of training ids as the 35 ids")
    options = parse(parser, None)
    domain = configs.domain(options)
    sequences = find_sequences(options.root, options.phase, domain.streams(picture=True), options.allow_links)
    labels: Counter[int] = Counter()
    n_faults = 0
    for sequence in tqdm(sequences, unit="sequence", disable=None):
        found = check_sequence(sequence, domain, configs.geometry(options), options.n_frames_G, options.label_nc)
        print(*found.lines(), sep="\n")
        for fault in found.faults[:SHOWN]:
            print(f"  fault: {fault}")
        if len(found.faults) > SHOWN:
            print(f"  and {len(found.faults) - SHOWN} more in this sequence")
        labels += found.labels
        n_faults += len(found.faults)
    print(*suggestions(labels), f"{len(sequences)} sequences, {n_faults} faults", sep="\n")
    if options.to_ids:
        if "condition" not in sequences[0].files or not options.label_nc:
            raise UserError("--to_ids rewrites label maps: it needs --dataset_mode temporal and --label_nc")
        rewrite(sequences, options.to_ids)
    sys.exit(n_faults > 0)


if __name__ == "__main__":
    with reported():
        main()
