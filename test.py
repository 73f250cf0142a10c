"""Turn label maps, face edges or poses into video with a trained network: `python test.py --help`."""

from __future__ import annotations

import sys
from itertools import islice

from tqdm import tqdm

from models.conditions import edit_labels
from models.first_frame import choose_first_pictures
from models.generators import build_generator
from models.keyframes import choose_synthesis
from models.ready import ready
from models.saving import load_generator
from options import configs
from options.assembly import open_conditions
from options.parsing import announce
from options.test import parse_test, synthesis_parser
from util.errors import UserError, reported
from util.pipeline import ahead
from util.placement import place
from util.results import OutputVideo, SequenceWriter, write_frames
from util.web_page import write_results_page


def main() -> None:
    options = parse_test()
    say = sys.stderr if options.output == "-" else sys.stdout
    placement = place(configs.placement(options))
    processes = placement.processes
    if processes.count > 1 and (options.input or options.output):
        raise UserError(f"--input and --output are of one video, which one process makes, found {processes.count}: "
                        "leave out torchrun, or these flags, to share the sequences of --dataroot")
    domain, folder, given = configs.domain(options), configs.results_folder(options), options.n_frames_G - 1
    first, reads_pictures = choose_first_pictures(configs.first_frame(options))
    synthesis, paint = configs.synthesis(options), choose_synthesis(options.keyframes)
    networks = build_generator(configs.generator(options))
    notes = load_generator(networks, configs.run_folder(options), options.which_epoch, options.allow_partial,
                           options.use_ema)
    ready(networks, synthesis.amp, placement.device)
    readers = open_conditions(options, domain, reads_pictures, placement.device, folder / "input")
    announce(options, synthesis_parser(), [placement.reason, *notes, *readers.notes], folder=None,
             aloud=processes.leads, to=say)
    suffixes = {"real_A": ".png" if options.label_nc else ".jpg", "fake_B": ".jpg", "real_B": ".jpg"}
    rate = options.fps or readers.rate

    jobs, made = readers.jobs(options.how_many, given), {}
    with OutputVideo(options.output, rate, readers.size, readers.sound, options.side_by_side) as output:
        for job in processes.share_by_load(jobs, [job.count or 0 for job in jobs]):
            sent = placement.pinned(job.frames)
            source = sent if options.input == "-" else ahead(sent)  # Ctrl-C would wait for a silent pipe
            clips = (edit_labels(clip, dict(options.label_map_edit)) for clip in source)
            frames = islice(paint(networks, clips, first, synthesis, placement.device), job.count)
            with SequenceWriter(folder / job.name, rate, suffixes) as writer:
                write_frames(tqdm(frames, job.name, job.count, unit="frame"), domain.show, writer, output)
            made[job.name] = writer.section(job.name)
    made = processes.merged(made)
    if processes.leads:
        sections = [made[job.name] for job in jobs]
        write_results_page(folder, sections, options.name, options.display_winsize)
        count = sum(section.length for section in sections)
        print(f"{count} frames of {len(sections)} sequences: {folder / 'index.html'}", file=say)


if __name__ == "__main__":
    with reported():
        main()
