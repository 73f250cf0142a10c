"""What is measured: a run's networks, with its weights or drawn ones, and toy frames of its mode and size."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from data.domain import Domain
from data.inputs import Readers, open_input
from data.toy import make_toy_data
from models.first_frame import FirstPictures, choose_first_pictures
from models.generators import GeneratorConfig, build_generator
from models.ready import ready
from models.saving import load_generator
from models.synthesis import SynthesisConfig
from options import configs
from options.loading import run_options
from options.parsing import Options
from options.test import parse_test
from util.clip import Clip

STREET = "--label_nc 35 --use_instance --fg --use_real_img"
MODES = {"street": STREET, "face": "--dataset_mode face --input_nc 15 --use_real_img",
         "pose": "--dataset_mode pose --input_nc 6 --resize_or_crop scaleHeight --no_first_img"}
PUBLISHED_SIZES = {"street": (512, 256), "face": (512, 512), "pose": (448, 512)}
CALM = 0.05  # of drawn flow heads: a trained flow is smooth and small, a drawn one would scatter every pixel


@dataclass(frozen=True)
class Size:
    width: int
    height: int

    @staticmethod
    def of(text: str) -> Size:
        width, height = text.lower().split("x")
        return Size(int(width), int(height))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def mode_flags(mode: str, size: Size) -> list[str]:
    """Of the published networks: streets have a refining network for each doubling beyond 512."""
    scales = max(1, (size.width // 512).bit_length()) if mode == "street" else 1
    side = size.height if mode == "pose" else size.width
    return [*MODES[mode].split(), f"--n_scales_spatial={scales}", f"--loadSize={side}"]


def toy_frames(mode: str, size: Size, root: Path, sequences: int, frames: int) -> Path:
    """A data root whose frames the mode reads at this size: of a pose the middle half of the columns is kept."""
    shown = (2 * size.width, size.height) if mode == "pose" else (size.width, size.height)
    return make_toy_data(mode, root, sequences=sequences, frames=frames, size=shown, phases=("train", "test"))


@dataclass(frozen=True)
class Subject:
    options: Options
    networks: nn.ModuleList
    first: FirstPictures
    synthesis: SynthesisConfig
    device: torch.device

    @property
    def domain(self) -> Domain:
        return configs.domain(self.options)

    @property
    def config(self) -> GeneratorConfig:
        return configs.generator(self.options)

    def ready(self, amp: str) -> Subject:
        """As test.py paints with `--amp`. With weights of its own: the plain way must not find them changed."""
        return replace(self, networks=ready(deepcopy(self.networks), amp, self.device),
                       synthesis=replace(self.synthesis, amp=amp))

    def readers(self) -> Readers:
        given = self.options.n_frames_G - 1
        return open_input(configs.source(self.options, configs.first_frame(self.options).source == "real"),
                          self.domain, configs.geometry(self.options), given, Path())

    def clips(self, count: int) -> list[Clip]:
        """Enough for `count` generated frames, decoded."""
        (_, reader, _), *_ = self.readers().sequences
        return list(islice(reader, count + self.options.n_frames_G - 1))


@torch.no_grad()
def condition_well(drawn: nn.ModuleList) -> None:
    """So that rounding stays small, as it does in trained networks: flows get small; norms of constant maps (black
    first pictures) get biases, else they would give the next norm nothing but rounding to enlarge."""
    for key, weight in drawn.named_parameters():
        if "final_flow" in key:
            weight.mul_(CALM)
        elif weight.ndim == 1:
            weight.add_(torch.randn_like(weight), alpha=0.1)


def drawn_subject(mode: str, size: Size, ngf: int, data: Path, device: torch.device,
                  more: Sequence[str] = ()) -> Subject:
    options = parse_test([*mode_flags(mode, size), f"--ngf={ngf}", f"--dataroot={data}", *more])
    torch.manual_seed(options.seed)
    networks = build_generator(configs.generator(options))
    condition_well(networks)
    return _subject(options, networks, device)


def trained_subject(run: Path, data: Path, device: torch.device, more: Sequence[str] = ()) -> Subject:
    options = run_options(run, f"--dataroot={data}", *more)
    networks = build_generator(configs.generator(options))
    load_generator(networks, configs.run_folder(options), options.which_epoch)
    return _subject(options, networks, device)


def _subject(options: Options, networks: nn.ModuleList, device: torch.device) -> Subject:
    first, _ = choose_first_pictures(configs.first_frame(options))
    return Subject(options, networks.to(device), first, configs.synthesis(options), device)
