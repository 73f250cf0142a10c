"""The parts of a test run, built from its options."""

from __future__ import annotations

from collections.abc import Iterator

from data.inference_inputs import SynthesisJob
from models.checkpoint import load_generators
from models.inference.first_frame import FirstImageProvider
from models.inference.synthesizer import Synthesizer
from models.networks.generators import build_generator
from models.networks.input_encoding import edit_labels
from options import configs
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


def read_clips(opt: TestOptions, job: SynthesisJob, device_setup: DeviceSetup) -> Iterator[Clip]:
    """Read the frames of a sequence ahead of their use, with the edits of `--label_map_edit`."""
    clips = device_setup.pin_clips(job.frames)
    # A pipe is not read ahead: Ctrl-C would wait for its next frame.
    clips = clips if opt.input == "-" else prefetch(clips)
    edits = dict(opt.label_map_edit)
    for clip in clips:
        yield edit_labels(clip, edits)
