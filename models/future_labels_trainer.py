"""Training a label predictor (`--model future_labels`): clips unrolled on its own predictions, as it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from models.future_labels import FutureLabelConfig, LabelPredictor, push
from models.generators import Frame
from models.losses import cross_entropy, masked_l1
from models.networks import Networks, OneNetwork
from models.objectives import Terms, Window, flat
from models.rollout import History
from models.schedule import Phase
from models.teams import Team
from models.temporal import FrameGroups
from models.trainer import Players, Trained, Trainer
from models.visuals import motion_visuals
from models.warp import warp
from util.clip import Clip, Flow


def build_future_networks(config: FutureLabelConfig) -> Networks:
    """Freshly drawn: nobody judges label maps, they are right or wrong."""
    return OneNetwork(torch.nn.ModuleList([LabelPredictor(config)]), None, torch.nn.ModuleList(), None,
                      file="G_labels")


def future_terms(window: Window, lambda_warp: float) -> Terms:
    """window: of label probabilities. G_Labels: how unlikely the real map is by the prediction; G_Labels_raw: by what
    was painted from scratch; F_Warp: what the flow alone, carrying the real map before, gets wrong."""
    real, carried = flat(window.real), warp(flat(window.real_before), flat(_known(window.frames.flow)))
    labelled = real.sum(dim=1, keepdim=True)
    return Terms({"G_Labels": cross_entropy(flat(window.frames.picture), real),
                  "G_Labels_raw": cross_entropy(flat(window.frames.raw), real),
                  "F_Warp": masked_l1(carried, real, labelled) * lambda_warp})


def _known(flow: Tensor | None) -> Tensor:
    assert flow is not None
    return flow


@dataclass(frozen=True)
class FutureLabelsTrainer(Trainer):
    """Everything of a run, an epoch and a step is the video trainer's; label probabilities stand in for pictures."""

    best_by: ClassVar[str] = "mean_iou"

    def generate(self, team: Team, clip: Clip, window: Clip, start: int, phase: Phase,
                 history: History | None) -> tuple[Window, History]:
        """The window as predicted, each map from the predictions before it; a clip's first maps are the real ones."""
        maps, past = self.config.conditions.encode(window), self.config.schedule.n_frames_G - 1
        real, before = maps[:, past:], maps[:, past - 1:-1]
        seen = maps[:, :past] if history is None else history.pictures[0].detach()
        newest, frames = seen[:, -1:], []
        for t in range(clip.load):
            frame = team.generators[0][0](seen.detach() if t % phase.backpropagate == 0 else seen)
            seen = push(seen, frame.picture)
            frames.append(frame)
        predicted = Frame.stack(frames)
        still = real.new_zeros(*real.shape[:2], 3, *real.shape[3:])  # no reference flow: nobody is asked for one
        view = Window(condition=before, real=real, real_before=before, frames=predicted,
                      fake_before=torch.cat([newest, predicted.picture[:, :-1]], dim=1).detach(),
                      reference=Flow(still[:, :, :2], still[:, :, :1]))
        return view, History((seen,))

    def judge(self, team: Team, clip: Clip, window: Window, groups: list[FrameGroups | None]) -> Players:
        return {"labels": future_terms(window, self.config.objectives.lambda_warp)}

    def pictures(self, trained: Trained) -> dict[str, np.ndarray]:
        """Of the first clip's newest frame."""
        window = trained.window

        def shown(maps: Tensor) -> np.ndarray:
            """(B, T, N, H, W) probabilities."""
            return self.show(maps[0, -1].argmax(dim=0, keepdim=True).cpu())

        return {"past": shown(window.condition), "predicted": shown(window.frames.picture),
                "raw": shown(window.frames.raw), "real": shown(window.real), **motion_visuals(window.frames)}
