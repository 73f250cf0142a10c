"""Synthesize videos from label maps, face edges or poses with a trained network: `python test.py --help`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tqdm import tqdm

from data.inference_inputs import SynthesisJob, batch_jobs
from models.inference.batched import IndexedFrames, synthesize_sequences
from models.inference.first_frame import build_first_image_provider
from options import configs
from options.build_inference import (
    build_synthesizer,
    open_test_sequences,
    read_clips,
    setup_test_devices,
)
from options.parsing import print_and_save_options
from options.test import build_test_parser, parse_test
from util.errors import exit_on_user_error
from util.io.result_writer import (
    OutputVideo,
    get_image_suffixes,
    open_sequence_writers,
    write_frames,
)
from util.pages.results import ResultSequence, write_results_page


def main() -> None:
    """Synthesize all sequences of a test run and write the results."""
    opt = parse_test()
    devices = setup_test_devices(opt)
    processes = devices.process_group
    log = sys.stderr if opt.output == "-" else sys.stdout  # standard output may carry the video
    frame_reader = configs.build_frame_reader(opt)
    folder = configs.results_folder(opt)

    get_first_images, uses_real_images = build_first_image_provider(configs.first_frame_config(opt))
    synthesizer, notes = build_synthesizer(opt, get_first_images, devices)
    inputs = open_test_sequences(
        opt, frame_reader, uses_real_images, devices.device, folder / "input"
    )
    lines = [devices.summary, *notes, *inputs.notes]
    is_main_process = processes.is_main_process
    print_and_save_options(
        opt, build_test_parser(), lines, folder=None, is_main_process=is_main_process, file=log
    )

    jobs = inputs.select_jobs(opt.how_many, n_history=opt.n_frames_G - 1)
    # The length of an unlimited job (a pipe, a repeated input) is unknown and counts as 0.
    local_jobs = processes.shard_by_load(jobs, [job.n_frames or 0 for job in jobs])
    fps, suffixes = opt.fps or inputs.fps, get_image_suffixes(has_labels=opt.label_nc > 0)
    results: dict[str, ResultSequence] = {}
    with OutputVideo(opt.output, fps, inputs.size, inputs.audio_track, opt.side_by_side) as output:
        for batch in batch_jobs(local_jobs, opt.batch_sequences):
            sequences = [read_clips(opt, job, devices) for job in batch]
            frames = synthesize_sequences(synthesizer, sequences, opt.keyframes)
            folders = [folder / job.name for job in batch]
            with open_sequence_writers(folders, fps, suffixes) as writers:
                progress = show_progress(frames, batch)
                write_frames(progress, frame_reader.condition_to_image, writers, output)
            for job, writer in zip(batch, writers, strict=True):
                results[job.name] = writer.result_sequence(job.name)

    results = processes.all_gather_dict(results)
    if is_main_process:
        sections = [results[job.name] for job in jobs]
        write_results_page(folder, sections, opt.name, opt.display_winsize)
        n_frames = sum(section.n_frames for section in sections)
        print(f"{n_frames} frames of {len(jobs)} sequences: {folder / 'index.html'}", file=log)


def show_progress(frames: IndexedFrames, batch: Sequence[SynthesisJob]) -> IndexedFrames:
    """Return the frames with a progress bar, which has no total if a job is unlimited."""
    total = sum(job.n_frames or 0 for job in batch) or None
    names = ", ".join(job.name for job in batch)
    return iter(tqdm(frames, names, total, unit="frame"))


if __name__ == "__main__":
    with exit_on_user_error():
        main()
