"""The parts of a test run, built from its options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from data.frame_reader import FrameReader
from data.inference_inputs import InferenceInputs, SynthesisJob, open_inference_inputs
from models.checkpoint import load_generators
from models.inference.first_frame import FirstImageProvider, build_first_image_provider
from models.inference.label_forecast import LabelForecaster
from models.inference.synthesizer import Synthesizer
from models.networks.generators import build_generator
from models.networks.input_encoding import edit_labels
from options import configs
from options.from_checkpoint import load_label_predictor
from options.schema import TestOptions
from util.clip import Clip
from util.distributed import DeviceSetup, setup_devices
from util.errors import UserError
from util.runtime.prefetch import prefetch


def setup_test_devices(opt: TestOptions) -> DeviceSetup:
    """Set up the devices, and the process group under torchrun.

    Raises:
        UserError: the devices do not exist, or several processes would write one video.
    """
    device_setup = setup_devices(configs.device_config(opt))
    world_size = device_setup.process_group.world_size
    if world_size > 1 and (opt.input or opt.output):
        raise UserError(
            f"--input and --output are of one video, which one process generates, found {world_size} processes: "
            "start without torchrun, or leave these flags out to share the sequences of --dataroot"
        )
    return device_setup


def build_synthesizer(
    opt: TestOptions, get_first_images: FirstImageProvider, device_setup: DeviceSetup
) -> tuple[Synthesizer, list[str]]:
    """Load the generators of a run and prepare them for inference.

    Returns:
        The synthesizer, and one line for each file that `--allow_partial` loaded in part.

    Raises:
        UserError: weights are missing or do not fit.
    """
    config = configs.synthesis_config(opt)
    netG = build_generator(configs.generator_config(opt))
    notes = load_generators(
        netG, configs.run_folder(opt), opt.which_epoch, opt.allow_partial, opt.use_ema
    )
    device = device_setup.device
    return Synthesizer.from_generators(netG, config, get_first_images, device), notes


def load_synthesizer(opt: TestOptions) -> Synthesizer:
    """Load the networks of a run as a Synthesizer, which generates frame by frame.

    Raises:
        UserError: The weights do not exist or do not match the options, or --keyframes is set.
    """
    if opt.keyframes > 1:
        raise UserError(
            f"--keyframes {opt.keyframes} needs later frames, which are not available frame by frame: "
            "leave it out"
        )
    get_first_images, _ = build_first_image_provider(configs.first_frame_config(opt))
    device_setup = setup_devices(configs.device_config(opt))
    synthesizer, _ = build_synthesizer(opt, get_first_images, device_setup)
    return synthesizer


def open_test_sequences(
    opt: TestOptions,
    frame_reader: FrameReader,
    uses_real_images: bool,
    device: torch.device,
    work_folder: Path,
) -> InferenceInputs:
    """Open the sequences that test.py generates.

    With `--future_labels`, only the beginning of each sequence is read; a label predictor forecasts
    the rest.

    Args:
        opt: The flags.
        frame_reader: Reads the frames.
        uses_real_images: Whether the first images are the real ones.
        device: Device of the label predictor.
        work_folder: Where the conditions of a video are written.
    """
    n_history = opt.n_frames_G - 1
    source = configs.input_config(opt, uses_real_images)
    transform_config = configs.transform_config(opt)
    if opt.future_labels is None:
        return open_inference_inputs(source, frame_reader, transform_config, n_history, work_folder)
    assert source.input_source != "-" and not source.should_loop, "refused by the validation"
    predictor = load_label_predictor(opt.future_labels, opt.label_nc, device)
    forecaster = LabelForecaster(predictor, n_history, device, opt.future_frames)
    n_required = forecaster.n_required_frames - (opt.future_frames is not None)
    inputs = open_inference_inputs(source, frame_reader, transform_config, n_required, work_folder)
    sequences = [
        (name, forecaster.forecast_clips(reader), forecaster.count_clips(length, name))
        for name, reader, length in inputs.sequences
        if length is not None
    ]
    return replace(inputs, sequences=sequences)


def read_clips(opt: TestOptions, job: SynthesisJob, device_setup: DeviceSetup) -> Iterator[Clip]:
    """Read the frames of a sequence ahead of their use, with the edits of `--label_map_edit`."""
    clips = device_setup.pin_clips(job.frames)
    # A pipe is not read ahead: Ctrl-C would wait for its next frame.
    clips = clips if opt.input == "-" else prefetch(clips)
    edits = dict(opt.label_map_edit)
    for clip in clips:
        yield edit_labels(clip, edits)
