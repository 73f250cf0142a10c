"""A small Python face for a trained network: a condition in, a picture out, for as long as somebody goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models.appearance import load_looks
from models.blueprint import Blueprint
from models.compiled import CompiledStep
from models.first_frame import FirstPictures, real_pictures, zeros
from models.generators import build_generator
from models.ready import ready
from models.saving import load_generator
from models.synthesis import SynthesisConfig, synthesise
from util.clip import Clip


@dataclass
class Synthesizer:
    """Several streams side by side, one frame of each a step, in memory that does not grow.

    Norms use the statistics of the current input (SPEC 6), of each stream by itself: it is as it would be alone.

    >>> painter = Synthesizer.from_checkpoint(checkpoint)  # Path("checkpoints/NAME"), of a run of train.py
    >>> edges = torch.zeros(2, 1, 30, 50)  # two streams
    >>> [painter.step(edges) is None for _ in range(4)]  # the network sees tG = 3 frames: two are needed first
    [True, True, False, False]
    >>> tuple(painter.step(edges).shape)
    (2, 3, 30, 50)
    >>> painter.reset()
    >>> painter.step(edges) is None
    True

    networks: the coarsest first. first: where the first pictures come from; with real ones `step` must be given them.
    """

    networks: nn.ModuleList
    config: SynthesisConfig
    first: FirstPictures = zeros
    device: torch.device = torch.device("cpu")

    @staticmethod
    def from_checkpoint(folder: Path, which_epoch: str = "latest", averaged: bool = False,
                        device: torch.device | str = "cpu", seed: int = 0,
                        compiled: bool = False) -> Synthesizer:
        """The networks of a run, from its folder alone. A run that was not trained with `--no_first_img` begins with
        real pictures: give them to the first steps.

        averaged: the running average of a run with `--ema`. seed: draws how regions look, for networks with features.
        compiled: as `test.py --compile`.
        UserError: weights or networks.json are missing or do not fit; those of elsewhere are loaded, by flags, with
        `options.loading.load_synthesizer`.
        """
        blueprint = Blueprint.load(folder)
        networks, n_features = build_generator(blueprint.generator), blueprint.generator.n_features
        load_generator(networks, folder, which_epoch, averaged=averaged)
        looks = load_looks(folder, n_features, rows=False, seed=seed) if n_features else None
        first = zeros if blueprint.begin_with_zeros else real_pictures
        config = blueprint.synthesis(looks)
        config = replace(config, step=CompiledStep()) if compiled else config
        return Synthesizer(networks, config, first, torch.device(device))

    def __post_init__(self) -> None:
        ready(self.networks, self.config.amp, self.device)
        self.reset()

    def step(self, condition: Tensor, picture: Tensor | None = None, instance: Tensor | None = None) -> Tensor | None:
        """The next frame of every stream, (B, 3, H, W) in [-1, 1]; None for the first tG - 1.

        condition: (B, 1, H, W) uint8 label ids or (B, C, H, W) float32. picture: (B, 3, H, W), the real one, which only
        the first frames of `real_pictures` need. instance: (B, 1, H, W) ids.
        """
        frame = Clip(condition[:, None], None if picture is None else picture[:, None],
                     None if instance is None else instance[:, None], names=(("",),) * len(condition))
        return self.step_clip(frame)

    def step_clip(self, frame: Clip) -> Tensor | None:
        """The same of a clip with T = 1, as readers give them."""
        self._waiting.append(frame)
        self._seen += 1
        return None if self._seen < self.config.n_frames else next(self._made)[1]

    def reset(self) -> None:
        """Forgets what was; the next step is the first of new streams."""
        self._waiting: deque[Clip] = deque()
        self._seen = 0
        self._made = synthesise(self.networks, self._arriving(), self.first, self.config, self.device)

    def _arriving(self) -> Iterator[Clip]:
        """Frames as `synthesise` asks for them: `step` puts one in before each request."""
        while True:
            yield self._waiting.popleft()
