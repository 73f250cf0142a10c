"""A small Python face for a trained network: a condition in, an image out, for as long as somebody goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoint import load_generators
from models.inference.first_frame import FirstImageProvider, get_real_images, make_zero_images
from models.inference.instance_features import read_feature_sampler
from models.inference.prepare import prepare_for_inference
from models.inference.synthesis import SynthesisConfig, synthesize
from models.networks.config import ModelConfig
from models.networks.generators import build_generator
from models.ops.compile import CompiledFrameGenerator
from util.clip import Clip


@dataclass
class Synthesizer:
    """Several streams side by side, one frame of each a step, in memory that does not grow.

    Norms use the statistics of the current input (SPEC 6), of each stream by itself: it is as it would be alone.

    >>> synthesizer = Synthesizer.from_checkpoint(checkpoint)  # Path("checkpoints/NAME"), of a run of train.py
    >>> edges = torch.zeros(2, 1, 30, 50)  # two streams
    >>> [synthesizer.generate_frame(edges) is None for _ in range(4)]  # the network sees tG = 3 frames: two are needed first
    [True, True, False, False]
    >>> tuple(synthesizer.generate_frame(edges).shape)
    (2, 3, 30, 50)
    >>> synthesizer.reset()
    >>> synthesizer.generate_frame(edges) is None
    True

    networks: the coarsest first. first: where the first images come from; with real ones `step` must be given them.
    """

    netG: nn.ModuleList
    config: SynthesisConfig
    get_first_images: FirstImageProvider = make_zero_images
    device: torch.device = torch.device("cpu")

    @staticmethod
    def from_checkpoint(
        folder: Path,
        which_epoch: str = "latest",
        use_ema: bool = False,
        device: torch.device | str = "cpu",
        seed: int = 0,
        use_compile: bool = False,
    ) -> Synthesizer:
        """The networks of a run, from its folder alone. A run that was not trained with `--no_first_img` begins with
        real images: give them to the first steps.

        averaged: the running average of a run with `--ema`. seed: draws how regions look, for networks with features.
        compiled: as `test.py --compile`.
        UserError: weights or networks.json are missing or do not fit; those of elsewhere are loaded, by flags, with
        `options.from_checkpoint.load_synthesizer`.
        """
        blueprint = ModelConfig.load(folder)
        networks, n_features = build_generator(blueprint.generator), blueprint.generator.n_features
        load_generators(networks, folder, which_epoch, uses_ema=use_ema)
        looks = (
            read_feature_sampler(folder, n_features, use_table_rows=False, seed=seed)
            if n_features
            else None
        )
        first = make_zero_images if blueprint.no_first_img else get_real_images
        config = blueprint.build_synthesis_config(looks)
        config = replace(config, generate_frame=CompiledFrameGenerator()) if use_compile else config
        return Synthesizer(networks, config, first, torch.device(device))

    def __post_init__(self) -> None:
        prepare_for_inference(self.netG, self.config.amp, self.device)
        self.reset()

    def generate_frame(
        self, condition: Tensor, image: Tensor | None = None, instance: Tensor | None = None
    ) -> Tensor | None:
        """The next frame of every stream, (B, 3, H, W) in [-1, 1]; None for the first tG - 1.

        condition: (B, 1, H, W) uint8 label ids or (B, C, H, W) float32. image: (B, 3, H, W), the real one, which only
        the first frames of `real_images` need. instance: (B, 1, H, W) ids.
        """
        frame = Clip(
            condition[:, None],
            None if image is None else image[:, None],
            None if instance is None else instance[:, None],
            names=(("",),) * len(condition),
        )
        return self.generate_frame_from_clip(frame)

    def generate_frame_from_clip(self, clip: Clip) -> Tensor | None:
        """The same of a clip with T = 1, as readers give them."""
        self._input_queue.append(clip)
        self._n_inputs += 1
        return None if self._n_inputs < self.config.n_frames_G else next(self._outputs)[1]

    def reset(self) -> None:
        """Forgets what was; the next step is the first of new streams."""
        self._input_queue: deque[Clip] = deque()
        self._n_inputs = 0
        self._outputs = synthesize(
            self.netG, self._iter_inputs(), self.get_first_images, self.config, self.device
        )

    def _iter_inputs(self) -> Iterator[Clip]:
        """Frames as `synthesise` asks for them: `step` puts one in before each request."""
        while True:
            yield self._input_queue.popleft()
