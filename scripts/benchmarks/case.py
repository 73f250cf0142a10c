"""The subject of a benchmark: a run's or random networks, and synthetic frames of their mode and size."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from data.frame_reader import FrameReader
from data.inference_inputs import InferenceInputs, open_inference_inputs
from data.synthetic import make_toy_data
from models.checkpoint import load_generators
from models.inference.first_frame import FirstImageProvider, build_first_image_provider
from models.inference.prepare import prepare_for_inference
from models.inference.synthesizer import SynthesisConfig, Synthesizer
from models.networks.blocks import use_per_sample_stats
from models.networks.generators import GeneratorConfig, build_generator
from models.ops.install import install_optimized_ops
from options import configs
from options.from_checkpoint import load_run_options
from options.schema import TestOptions
from options.test import frame_size, parse_test
from util.clip import Clip

MODE_FLAGS = {
    "street": "--label_nc 35 --use_instance --fg --use_real_img",
    "face": "--dataset_mode face --input_nc 15 --use_real_img",
    "pose": "--dataset_mode pose --input_nc 6 --resize_or_crop scaleHeight --no_first_img",
}
PUBLISHED_SIZES = {"street": (512, 256), "face": (512, 512), "pose": (448, 512)}
_FLOW_HEAD_GAIN = 0.05  # makes the flow of random networks smooth and small, like a trained one


@dataclass(frozen=True)
class FrameSize:
    """Width and height of the generated frames in pixels."""

    width: int
    height: int

    @staticmethod
    def parse(text: str) -> FrameSize:
        """Parse `WxH`."""
        return FrameSize(*frame_size(text))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def make_mode_flags(mode: str, size: FrameSize) -> list[str]:
    """Return the flags of the published networks of a mode.

    As published, street has one more spatial scale for each doubling of the width beyond 512.
    """
    n_scales = max(1, (size.width // 512).bit_length()) if mode == "street" else 1
    load_size = size.height if mode == "pose" else size.width
    return [*MODE_FLAGS[mode].split(), f"--n_scales_spatial={n_scales}", f"--loadSize={load_size}"]


def make_benchmark_data(
    mode: str, size: FrameSize, root: Path, n_sequences: int, n_frames: int
) -> Path:
    """Write synthetic data that the mode reads at this size; return its root.

    Pose frames are twice as wide, because only the middle half of their columns is used.
    """
    width = 2 * size.width if mode == "pose" else size.width
    return make_toy_data(
        mode,
        root,
        sequences=n_sequences,
        frames=n_frames,
        size=(width, size.height),
        phases=("train", "test"),
    )


@dataclass(frozen=True)
class BenchmarkCase:
    """Generators on a device, with all that synthesis needs."""

    options: TestOptions
    networks: nn.ModuleList
    first_frames: FirstImageProvider
    synthesis: SynthesisConfig
    device: torch.device

    @property
    def frame_reader(self) -> FrameReader:
        """Reader of the mode's frames."""
        return configs.build_frame_reader(self.options)

    @property
    def generator_config(self) -> GeneratorConfig:
        """Shape of the generators."""
        return configs.generator_config(self.options)

    @property
    def synthesizer(self) -> Synthesizer:
        return Synthesizer(self.networks, self.synthesis, self.first_frames, self.device)

    def prepare_for_inference(self, amp: str) -> BenchmarkCase:
        """Return the case as test.py runs it with `--amp`.

        It gets a copy of the networks, since the reference implementation uses the original ones.
        """
        networks = prepare_for_inference(deepcopy(self.networks), amp, self.device)
        return replace(self, networks=networks, synthesis=replace(self.synthesis, amp=amp))

    def open_sequences(self) -> InferenceInputs:
        """Open the test sequences of the data."""
        uses_real_images = configs.first_frame_config(self.options).source == "real"
        return open_inference_inputs(
            configs.input_config(self.options, uses_real_images),
            self.frame_reader,
            configs.transform_config(self.options),
            self.options.n_frames_G - 1,
            Path(),
        )

    def read_clips(self, n_frames: int) -> list[Clip]:
        """Decode the clips that `n_frames` generated frames need, of one frame each."""
        (_, reader, _), *_ = self.open_sequences().sequences
        return list(islice(reader, n_frames + self.options.n_frames_G - 1))


@torch.no_grad()
def stabilize_random_weights(networks: nn.ModuleList) -> None:
    """Change random weights so that rounding errors stay small, as they do in trained networks.

    Flow heads are scaled down. Norms get random weights and biases: a norm of a constant map, as
    of a black first image, would otherwise pass nothing but rounding errors to the next norm,
    which enlarges them.
    """
    for name, parameter in networks.named_parameters():
        if "final_flow" in name:
            parameter.mul_(_FLOW_HEAD_GAIN)
        elif parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def make_random_case(
    mode: str,
    size: FrameSize,
    ngf: int,
    data: Path,
    device: torch.device,
    extra_flags: Sequence[str] = (),
) -> BenchmarkCase:
    """Build a case with random weights."""
    options = parse_test(
        [*make_mode_flags(mode, size), f"--ngf={ngf}", f"--dataroot={data}", *extra_flags]
    )
    torch.manual_seed(options.seed)
    networks = build_generator(configs.generator_config(options))
    stabilize_random_weights(networks)
    return _make_case(options, networks, device)


def load_trained_case(
    run: Path, data: Path, device: torch.device, extra_flags: Sequence[str] = ()
) -> BenchmarkCase:
    """Build a case with the weights of a trained run."""
    options = load_run_options(run, f"--dataroot={data}", *extra_flags)
    networks = build_generator(configs.generator_config(options))
    load_generators(networks, configs.run_folder(options), options.which_epoch)
    return _make_case(options, networks, device)


def _make_case(
    options: TestOptions, networks: nn.ModuleList, device: torch.device
) -> BenchmarkCase:
    install_optimized_ops(networks)
    use_per_sample_stats(networks)
    first_images, _ = build_first_image_provider(configs.first_frame_config(options))
    synthesis = configs.synthesis_config(options)
    return BenchmarkCase(options, networks.to(device), first_images, synthesis, device)
