"""Turn label maps, face edges or poses into video with a trained network: `python test.py --help`."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tqdm import tqdm

from data.clips import SequenceReader
from data.sequences import find_sequences
from models import first_frame
from models.generators import build_generator
from models.saving import load_generator
from models.synthesis import synthesise
from options import configs
from options.parsing import report
from options.rules import unused
from options.test import parse_test, synthesis_parser
from util.errors import reported
from util.pictures import to_uint8
from util.placement import place
from util.results import SequenceWriter
from util.web_page import write_results_page


def main() -> None:
    options = parse_test()
    placement = place(configs.placement(options))
    print(report(options, synthesis_parser()), *unused(options, synthesis_parser()), placement.reason, sep="\n")
    domain, folder = configs.domain(options), configs.results_folder(options)
    sequences = find_sequences(options.dataroot, options.phase, domain.streams(picture=options.use_real_img))
    networks = build_generator(configs.generator(options))
    load_generator(networks, configs.run_folder(options), options.which_epoch)
    networks.to(placement.device)
    first = first_frame.zeros if options.no_first_img else first_frame.real_pictures
    suffixes = {"real_A": ".png" if options.label_nc else ".jpg", "fake_B": ".jpg", "real_B": ".jpg"}

    left, sections = options.how_many, []
    for number, sequence in enumerate(sequences[:int(min(options.max_dataset_size, len(sequences)))]):
        reader = SequenceReader(domain, sequence, configs.geometry(options), picture=options.use_real_img,
                                start=options.start_frame if number == 0 else 0)
        frames = synthesise(networks, reader, first, configs.synthesis(options), placement.device)
        count = min(left, len(reader) - options.n_frames_G + 1)
        with SequenceWriter(folder / sequence.name, options.fps, suffixes) as writer:
            for clip, picture in islice(tqdm(frames, sequence.name, count, unit="frame"), count):
                shown = {"real_A": domain.show(clip.condition[0, 0]), "fake_B": to_uint8(picture[0])}
                if clip.picture is not None:
                    shown["real_B"] = to_uint8(clip.picture[0, 0])
                writer.write(Path(clip.names[0][0]).name, shown)
        sections.append(writer.section(sequence.name))
        left -= count
        if left == 0:
            break
    write_results_page(folder, sections, options.name, options.display_winsize)
    print(f"{options.how_many - left} frames of {len(sections)} sequences: {folder / 'index.html'}")


if __name__ == "__main__":
    with reported():
        main()
