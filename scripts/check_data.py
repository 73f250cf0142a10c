"""Check a whole data set before training: `python scripts/check_data.py DATAROOT [flags of train.py]`.

Prints a summary of every sequence, a line per fault, and the label flags that fit. The exit code is 1 if there are
faults.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.sequences import FrameSequence, find_sequences
from data.validation import convert_to_label_ids, inspect_sequence, suggest_flags
from options import configs
from options.parsing import parse_options
from options.schema import TrainOptions
from options.train import build_train_parser
from util.errors import UserError, exit_on_user_error
from util.images.visualization import save_image

_MAX_PRINTED_FAULTS = 3  # per sequence: data in a wrong format have a fault in every frame


@dataclass(frozen=True, kw_only=True)
class CheckDataOptions(TrainOptions):
    """The options of train.py and those of this script."""

    root: Path
    to_ids: Path | None


def write_label_id_maps(sequences: tuple[FrameSequence, ...], folder: Path) -> None:
    """Write all label maps with Cityscapes' 35 label ids, under their names, to a folder."""
    for sequence in sequences:
        for path in sequence.files["condition"]:
            label_map = np.asarray(convert_to_label_ids(path))
            save_image(folder / sequence.name / f"{path.stem}.png", label_map)
    print(
        f"label maps with 35 ids are in {folder}: use it as the data set's A folder, with --label_nc 35"
    )


def main() -> None:
    """Check the data set and exit."""
    parser = build_train_parser()
    parser.description = (__doc__ or "").split("\n")[0]
    parser.add_argument("root", type=Path, metavar="DATAROOT")
    parser.add_argument(
        "--to_ids",
        type=Path,
        metavar="FOLDER",
        help="convert label maps of Cityscapes' training ids to the 35 label ids, into this folder",
    )
    opt = parse_options(parser, None, CheckDataOptions)
    frame_reader = configs.build_frame_reader(opt)
    sequences = find_sequences(
        opt.root, opt.phase, frame_reader.folder_specs(uses_images=True), opt.allow_symlinks
    )
    label_counts: Counter[int] = Counter()
    n_faults = 0
    for sequence in tqdm(sequences, unit="sequence", disable=None):
        report = inspect_sequence(
            sequence, frame_reader, configs.transform_config(opt), opt.n_frames_G, opt.label_nc
        )
        print(*report.format_lines(), sep="\n")
        for fault in report.errors[:_MAX_PRINTED_FAULTS]:
            print(f"  fault: {fault}")
        if len(report.errors) > _MAX_PRINTED_FAULTS:
            print(f"  and {len(report.errors) - _MAX_PRINTED_FAULTS} more in this sequence")
        label_counts += report.label_counts
        n_faults += len(report.errors)
    for line in suggest_flags(label_counts):
        print(line)
    print(f"{len(sequences)} sequences, {n_faults} faults")
    if opt.to_ids:
        if "condition" not in sequences[0].files or not opt.label_nc:
            raise UserError(
                "--to_ids converts label maps: it needs --dataset_mode temporal and --label_nc"
            )
        write_label_id_maps(sequences, opt.to_ids)
    sys.exit(n_faults > 0)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
