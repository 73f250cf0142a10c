"""Turn label maps, face edges or poses into video with a trained network: `python test.py --help`."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from models.conditions import edit_labels
from models.first_frame import choose_first_pictures
from models.generators import build_generator
from models.keyframes import choose_synthesis
from models.saving import load_generator
from options import configs
from options.assembly import open_conditions
from options.parsing import report
from options.rules import unused
from options.test import parse_test, synthesis_parser
from util.errors import UserError, reported
from util.pictures import to_uint8
from util.placement import place
from util.results import OutputVideo, SequenceWriter
from util.web_page import write_results_page


def main() -> None:
    options = parse_test()
    say = sys.stderr if options.output == "-" else sys.stdout
    placement = place(configs.placement(options))
    if placement.processes.count > 1:
        raise UserError(f"test.py was started by torchrun as {placement.processes.count} processes, which would all "
                        "write the same files: start it as one, python test.py")
    parser = synthesis_parser()
    print(report(options, parser), *unused(options, parser), placement.reason, sep="\n", file=say)
    domain, folder, given = configs.domain(options), configs.results_folder(options), options.n_frames_G - 1
    first, reads_pictures = choose_first_pictures(configs.first_frame(options))
    synthesis, paint = configs.synthesis(options), choose_synthesis(options.keyframes)
    networks = build_generator(configs.generator(options))
    for line in load_generator(networks, configs.run_folder(options), options.which_epoch, options.allow_partial,
                               options.use_ema):
        print(line, file=say)
    networks.to(placement.device)
    readers = open_conditions(options, domain, reads_pictures, placement.device, folder / "input")
    suffixes = {"real_A": ".png" if options.label_nc else ".jpg", "fake_B": ".jpg", "real_B": ".jpg"}
    rate = options.fps or readers.rate

    left, sections = options.how_many, []
    with OutputVideo(options.output, rate, readers.size, readers.sound, options.side_by_side) as output:
        for name, reader, length in readers.sequences:
            clips = (edit_labels(clip, dict(options.label_map_edit)) for clip in reader)
            frames = paint(networks, clips, first, synthesis, placement.device)
            count = left if length is None else min(left, length - given)
            with SequenceWriter(folder / name, rate, suffixes) as writer:
                for clip, picture in islice(tqdm(frames, name, count, unit="frame"), count):
                    shown = {"real_A": domain.show(clip.condition[0, 0]), "fake_B": to_uint8(picture[0])}
                    if clip.picture is not None:
                        shown["real_B"] = to_uint8(clip.picture[0, 0])
                    output.write(shown)
                    writer.write(Path(clip.names[0][0]).name, shown)
            sections.append(writer.section(name))
            left -= sections[-1].length
            if left == 0:
                break
    write_results_page(folder, sections, options.name, options.display_winsize)
    print(f"{options.how_many - left} frames of {len(sections)} sequences: {folder / 'index.html'}", file=say)


if __name__ == "__main__":
    with reported():
        main()
