"""A small Python face for a trained network: a condition in, a picture out, for as long as somebody goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.first_frame import FirstPictures, zeros
from models.synthesis import SynthesisConfig, synthesise
from util.clip import Clip


@dataclass
class Synthesizer:
    """Several streams side by side, one frame of each a step, in memory that does not grow.

    Norms use the statistics of the current input (SPEC 6): with `norm instance` each stream is as it would be alone,
    with `norm batch` streams that are stepped together share them.

    >>> from models.generators import GeneratorConfig, build_generator
    >>> from models.conditions import ConditionConfig
    >>> config = GeneratorConfig(condition_channels=1, width=8, n_blocks=2, n_downsample=2)
    >>> painter = Synthesizer(build_generator(config), SynthesisConfig(
    ...     ConditionConfig(label_nc=0, instance_edges=False), config.n_frames, config.size_multiple,
    ...     begin_with_zeros=True))
    >>> edges = torch.zeros(2, 1, 30, 50)  # two streams
    >>> [painter.step(edges) is None for _ in range(4)]  # the network sees tG = 3 frames: two are needed first
    [True, True, False, False]
    >>> tuple(painter.step(edges).shape)
    (2, 3, 30, 50)
    >>> painter.reset()
    >>> painter.step(edges) is None
    True

    A trained one: `options.loading.load_synthesizer(run_options(Path("checkpoints/NAME")))`.

    networks: the coarsest first. first: where the first pictures come from; with real ones `step` must be given them.
    """

    networks: nn.ModuleList
    config: SynthesisConfig
    first: FirstPictures = zeros
    device: torch.device = torch.device("cpu")

    def __post_init__(self) -> None:
        self.networks.to(self.device)
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
