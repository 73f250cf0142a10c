"""What is measured: a run's networks, with its weights or drawn ones, and toy frames of its mode and size."""

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
from options.test import parse_test
from util.clip import Clip

_STREET_FLAGS = "--label_nc 35 --use_instance --fg --use_real_img"
MODE_FLAGS = {
    "street": _STREET_FLAGS,
    "face": "--dataset_mode face --input_nc 15 --use_real_img",
    "pose": "--dataset_mode pose --input_nc 6 --resize_or_crop scaleHeight --no_first_img",
}
PUBLISHED_SIZES = {"street": (512, 256), "face": (512, 512), "pose": (448, 512)}
_FLOW_HEAD_GAIN = 0.05  # of drawn flow heads: a trained flow is smooth and small, a drawn one would scatter every pixel


@dataclass(frozen=True)
class FrameSize:
    width: int
    height: int

    @staticmethod
    def parse(text: str) -> FrameSize:
        width, height = text.lower().split("x")
        return FrameSize(int(width), int(height))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def make_mode_flags(mode: str, size: FrameSize) -> list[str]:
    """Of the published networks: streets have a refining network for each doubling beyond 512."""
    scales = max(1, (size.width // 512).bit_length()) if mode == "street" else 1
    side = size.height if mode == "pose" else size.width
    return [*MODE_FLAGS[mode].split(), f"--n_scales_spatial={scales}", f"--loadSize={side}"]


def make_benchmark_data(
    mode: str, size: FrameSize, root: Path, n_sequences: int, n_frames: int
) -> Path:
    """A data root whose frames the mode reads at this size: of a pose the middle half of the columns is kept."""
    shown = (2 * size.width, size.height) if mode == "pose" else (size.width, size.height)
    return make_toy_data(
        mode, root, sequences=n_sequences, frames=n_frames, size=shown, phases=("train", "test")
    )


@dataclass(frozen=True)
class BenchmarkCase:
    options: TestOptions
    networks: nn.ModuleList
    first_frames: FirstImageProvider
    synthesis: SynthesisConfig
    device: torch.device

    @property
    def frame_reader(self) -> FrameReader:
        return configs.build_frame_reader(self.options)

    @property
    def generator_config(self) -> GeneratorConfig:
        return configs.generator_config(self.options)

    @property
    def synthesizer(self) -> Synthesizer:
        return Synthesizer(self.networks, self.synthesis, self.first_frames, self.device)

    def prepare_for_inference(self, amp: str) -> BenchmarkCase:
        """As test.py paints with `--amp`. With weights of its own: the plain way must not find them changed."""
        return replace(
            self,
            networks=prepare_for_inference(deepcopy(self.networks), amp, self.device),
            synthesis=replace(self.synthesis, amp=amp),
        )

    def open_sequences(self) -> InferenceInputs:
        given = self.options.n_frames_G - 1
        return open_inference_inputs(
            configs.input_config(
                self.options, configs.first_frame_config(self.options).source == "real"
            ),
            self.frame_reader,
            configs.transform_config(self.options),
            given,
            Path(),
        )

    def read_clips(self, count: int) -> list[Clip]:
        """Enough for `count` generated frames, decoded."""
        (_, reader, _), *_ = self.open_sequences().sequences
        return list(islice(reader, count + self.options.n_frames_G - 1))


@torch.no_grad()
def stabilize_random_weights(networks: nn.ModuleList) -> None:
    """So that rounding stays small, as it does in trained networks: flows get small; norms of constant maps (black
    first images) get biases, else they would give the next norm nothing but rounding to enlarge."""
    for key, weight in networks.named_parameters():
        if "final_flow" in key:
            weight.mul_(_FLOW_HEAD_GAIN)
        elif weight.ndim == 1:
            weight.add_(torch.randn_like(weight), alpha=0.1)


def make_random_case(
    mode: str,
    size: FrameSize,
    ngf: int,
    data: Path,
    device: torch.device,
    extra_flags: Sequence[str] = (),
) -> BenchmarkCase:
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
    options = load_run_options(run, f"--dataroot={data}", *extra_flags)
    networks = build_generator(configs.generator_config(options))
    load_generators(networks, configs.run_folder(options), options.which_epoch)
    return _make_case(options, networks, device)


def _make_case(
    options: TestOptions, networks: nn.ModuleList, device: torch.device
) -> BenchmarkCase:
    first, _ = build_first_image_provider(configs.first_frame_config(options))
    install_optimized_ops(networks)
    use_per_sample_stats(networks)
    return BenchmarkCase(
        options, networks.to(device), first, configs.synthesis_config(options), device
    )
