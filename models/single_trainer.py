"""Training a single-image network (pix2pixHD's objective): the trainer whose clips are one frame long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from models.appearance import encoded
from models.generators import Frame
from models.objectives import Window, image_terms, perceptual_terms
from models.rollout import History
from models.schedule import Phase
from models.teams import Team
from models.temporal import FrameGroups
from models.trainer import Players, Trained, Trainer
from util.clip import Clip
from util.pictures import to_uint8
from util.placement.precision import widened


@dataclass(frozen=True)
class SingleTrainer(Trainer):
    """Everything of a run, an epoch and a step is the video trainer's; nothing moves, so nothing is remembered."""

    def generate(self, team: Team, clip: Clip, window: Clip, start: int, phase: Phase,
                 history: History | None) -> tuple[Window, History]:
        """The frame as the network paints it from its condition, and from how its regions really look."""
        assert window.picture is not None
        condition = self.config.conditions.encode(window)
        features = [encoded(team.encoder, window)[:, 0]] if team.encoder else []
        picture = widened(team.generators[0][0](condition[:, 0], *features).unsqueeze(1))
        view = Window(condition=condition, real=window.picture, real_before=window.picture,
                      frames=Frame(picture, picture, None, None), fake_before=picture.detach(),
                      reference=self.flow_between(team, clip, [(0, 0)], window.picture, window.picture))
        return view, History(())

    def judge(self, team: Team, clip: Clip, window: Window, groups: list[FrameGroups | None]) -> Players:
        """Adversarial loss, feature matching and VGG, once for each picture."""
        judge, = team.judges[:1]
        assert judge.networks.image is not None
        terms = image_terms(judge.networks.image, window, self.config.objectives)
        if judge.perceptual is not None:
            terms |= perceptual_terms(judge.perceptual, window, self.config.objectives)
        return {"D": terms}

    def pictures(self, trained: Trained) -> dict[str, np.ndarray]:
        def first(pictures: Tensor) -> np.ndarray:
            return to_uint8(pictures[0, 0])

        window = trained.window
        return {"condition": self.show(trained.clip.condition[0, 0].cpu()), "generated": first(window.frames.picture),
                "real": first(window.real)}
