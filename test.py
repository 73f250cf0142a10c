"""Turn label maps, face edges or poses into video with a trained network: `python test.py --help`."""

from __future__ import annotations

import sys

from tqdm import tqdm

from data.inference_inputs import batch_jobs
from models.checkpoint import load_generators
from models.inference.first_frame import build_first_image_provider
from models.inference.keyframes import select_sequence_synthesizer
from models.inference.prepare import prepare_for_inference
from models.networks.generators import build_generator
from models.networks.input_encoding import edit_labels
from options import configs
from options.build import open_test_sequences
from options.parsing import print_and_save_options
from options.test import build_test_parser, parse_test
from util.distributed import setup_devices
from util.errors import UserError, exit_on_user_error
from util.io.result_writer import OutputVideo, open_sequence_writers, write_frames
from util.pages.results import ResultSequence, write_results_page
from util.runtime.prefetch import prefetch


def main() -> None:
    options = parse_test()
    say = sys.stderr if options.output == "-" else sys.stdout
    placement = setup_devices(configs.device_config(options))
    processes = placement.process_group
    if processes.world_size > 1 and (options.input or options.output):
        raise UserError(
            f"--input and --output are of one video, which one process makes, found {processes.world_size}: "
            "leave out torchrun, or these flags, to share the sequences of --dataroot"
        )
    domain, folder, given = (
        configs.build_frame_reader(options),
        configs.results_folder(options),
        options.n_frames_G - 1,
    )
    first, reads_images = build_first_image_provider(configs.first_frame_config(options))
    synthesis, paint = (
        configs.synthesis_config(options),
        select_sequence_synthesizer(options.keyframes),
    )
    networks = build_generator(configs.generator_config(options))
    notes = load_generators(
        networks,
        configs.run_folder(options),
        options.which_epoch,
        options.allow_partial,
        options.use_ema,
    )
    prepare_for_inference(networks, synthesis.amp, placement.device)
    readers = open_test_sequences(options, domain, reads_images, placement.device, folder / "input")
    print_and_save_options(
        options,
        build_test_parser(),
        [placement.summary, *notes, *readers.notes],
        folder=None,
        is_main_process=processes.is_main_process,
        file=say,
    )
    suffixes = {
        "real_A": ".png" if options.label_nc else ".jpg",
        "fake_B": ".jpg",
        "real_B": ".jpg",
    }
    rate, edits = options.fps or readers.fps, dict(options.label_map_edit)
    read = iter if options.input == "-" else prefetch  # Ctrl-C would wait for a silent pipe

    made: dict[str, ResultSequence] = {}
    jobs = readers.select_jobs(options.how_many, given)
    own = processes.shard_by_load(jobs, [job.n_frames or 0 for job in jobs])
    with OutputVideo(
        options.output, rate, readers.size, readers.audio_track, options.side_by_side
    ) as output:
        for group in batch_jobs(own, options.batch_sequences):
            clips = [
                (edit_labels(clip, edits) for clip in read(placement.pin_clips(job.frames)))
                for job in group
            ]
            frames = paint(networks, clips, first, synthesis, placement.device)
            count = sum(job.n_frames or 0 for job in group) or None  # a pipe does not say
            bar = tqdm(frames, ", ".join(job.name for job in group), count, unit="frame")
            with open_sequence_writers(
                [folder / job.name for job in group], rate, suffixes
            ) as writers:
                write_frames(bar, domain.condition_to_image, writers, output)
            made |= {
                job.name: writer.result_sequence(job.name)
                for job, writer in zip(group, writers, strict=True)
            }
    made = processes.all_gather_dict(made)
    if processes.is_main_process:
        sections = [made[job.name] for job in jobs]
        write_results_page(folder, sections, options.name, options.display_winsize)
        total = sum(section.n_frames for section in sections)
        print(f"{total} frames of {len(sections)} sequences: {folder / 'index.html'}", file=say)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
