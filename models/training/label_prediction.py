"""Training a label predictor (`--model future_labels`): clips unrolled on its own predictions, as it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from models.flow.warp import warp
from models.losses.functional import label_cross_entropy, masked_l1_loss
from models.losses.temporal_groups import FrameGroups
from models.losses.vid2vid import GeneratedWindow, Losses, flatten_time
from models.networks.collection import SingleNetworkModels, Vid2VidModels
from models.networks.generators import GeneratorOutput
from models.networks.label_predictor import LabelPredictor, LabelPredictorConfig, append_to_history
from models.networks.rollout import History
from models.training.device_groups import DeviceGroupModels
from models.training.schedule import EpochSettings
from models.training.trainer import LossesByOptimizer, Trainer, TrainStepResult
from models.training.visuals import make_flow_visuals
from util.clip import Clip, FlowEstimate


def build_label_prediction_networks(config: LabelPredictorConfig) -> Vid2VidModels:
    """Freshly drawn: nobody judges label maps, they are right or wrong."""
    return SingleNetworkModels(
        torch.nn.ModuleList([LabelPredictor(config)]),
        None,
        torch.nn.ModuleList(),
        None,
        netG_name="G_labels",
    )


def compute_label_losses(window: GeneratedWindow, lambda_warp: float) -> Losses:
    """window: of label probabilities. G_Labels: how unlikely the real map is by the prediction; G_Labels_raw: by what
    was painted from scratch; F_Warp: what the flow alone, carrying the real map before, gets wrong."""
    real, carried = (
        flatten_time(window.real),
        warp(flatten_time(window.real_prev), flatten_time(_require_flow(window.output.flow))),
    )
    labelled = real.sum(dim=1, keepdim=True)
    return Losses(
        {
            "G_Labels": label_cross_entropy(flatten_time(window.output.image), real),
            "G_Labels_raw": label_cross_entropy(flatten_time(window.output.raw_image), real),
            "F_Warp": masked_l1_loss(carried, real, labelled) * lambda_warp,
        }
    )


def _require_flow(flow: Tensor | None) -> Tensor:
    assert flow is not None
    return flow


@dataclass(frozen=True)
class LabelPredictionTrainer(Trainer):
    """Everything of a run, an epoch and a step is the video trainer's; label probabilities stand in for images."""

    monitored_metric: ClassVar[str] = "mean_iou"

    def generate(
        self,
        group_models: DeviceGroupModels,
        clip: Clip,
        window: Clip,
        start: int,
        settings: EpochSettings,
        history: History | None,
    ) -> tuple[GeneratedWindow, History]:
        """The window as predicted, each map from the predictions before it; a clip's first maps are the real ones."""
        maps, past = (
            self.config.conditions.encode_dense(window),
            self.config.schedule.n_frames_G - 1,
        )
        real, before = maps[:, past:], maps[:, past - 1 : -1]
        seen = maps[:, :past] if history is None else history.images[0].detach()
        newest, frames = seen[:, -1:], []
        for t in range(clip.window_size):
            frame = group_models.generators[0][0](
                seen.detach() if t % settings.bptt_frames == 0 else seen
            )
            seen = append_to_history(seen, frame.image)
            frames.append(frame)
        predicted = GeneratorOutput.stack(frames)
        still = real.new_zeros(
            *real.shape[:2], 3, *real.shape[3:]
        )  # no reference flow: nobody is asked for one
        view = GeneratedWindow(
            condition=before,
            real=real,
            real_prev=before,
            output=predicted,
            fake_prev=torch.cat([newest, predicted.image[:, :-1]], dim=1).detach(),
            reference_flow=FlowEstimate(still[:, :, :2], still[:, :, :1]),
        )
        return view, History((seen,))

    def compute_losses(
        self,
        group_models: DeviceGroupModels,
        clip: Clip,
        window: GeneratedWindow,
        groups: list[FrameGroups | None],
    ) -> LossesByOptimizer:
        return {"labels": compute_label_losses(window, self.config.losses.lambda_warp)}

    def make_display_images(self, result: TrainStepResult) -> dict[str, np.ndarray]:
        """Of the first clip's newest frame."""
        window = result.window

        def shown(maps: Tensor) -> np.ndarray:
            """(B, T, N, H, W) probabilities."""
            return self.condition_to_image(maps[0, -1].argmax(dim=0, keepdim=True).cpu())

        return {
            "past": shown(window.condition),
            "predicted": shown(window.output.image),
            "raw": shown(window.output.raw_image),
            "real": shown(window.real),
            **make_flow_visuals(window.output),
        }
