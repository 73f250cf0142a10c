"""Turn label maps, face edges or poses into video with a trained network: `python test.py --help`."""

from __future__ import annotations

import sys

from tqdm import tqdm

from data.inputs import at_once
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
from util.results import OutputVideo, sequence_writers, write_frames
from util.web_page import ResultSequence, write_results_page


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
    rate, edits = options.fps or readers.rate, dict(options.label_map_edit)
    read = iter if options.input == "-" else ahead  # Ctrl-C would wait for a silent pipe

    made: dict[str, ResultSequence] = {}
    jobs = readers.jobs(options.how_many, given)
    own = processes.share_by_load(jobs, [job.count or 0 for job in jobs])
    with OutputVideo(options.output, rate, readers.size, readers.sound, options.side_by_side) as output:
        for group in at_once(own, options.batch_sequences):
            clips = [(edit_labels(clip, edits) for clip in read(placement.pinned(job.frames))) for job in group]
            frames = paint(networks, clips, first, synthesis, placement.device)
            count = sum(job.count or 0 for job in group) or None  # a pipe does not say
            bar = tqdm(frames, ", ".join(job.name for job in group), count, unit="frame")
            with sequence_writers([folder / job.name for job in group], rate, suffixes) as writers:
                write_frames(bar, domain.show, writers, output)
            made |= {job.name: writer.section(job.name) for job, writer in zip(group, writers, strict=True)}
    made = processes.merged(made)
    if processes.leads:
        sections = [made[job.name] for job in jobs]
        write_results_page(folder, sections, options.name, options.display_winsize)
        total = sum(section.length for section in sections)
        print(f"{total} frames of {len(sections)} sequences: {folder / 'index.html'}", file=say)


if __name__ == "__main__":
    with reported():
        main()
