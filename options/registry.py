"""The training methods that `--model` names: how each builds its networks and its forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from models.networks.collection import Vid2VidModels, build_models, build_single_image_models
from models.training.device_groups import GroupReplicas
from models.training.forward import Vid2VidForward, WindowForward
from models.training.label_prediction import (
    LabelPredictionForward,
    build_label_prediction_networks,
)
from models.training.single_image import SingleImageForward
from options import configs
from options.schema import TrainOptions

ConditionToImage = Callable[[Tensor], np.ndarray]


@dataclass(frozen=True)
class ModelSpec:
    """A training method.

    Attributes:
        build_networks: Builds all networks with random weights.
        build_forward: Builds the forward pass of one device group.
        monitored_metric: The held-out metric that decides which weights are best.
    """

    build_networks: Callable[[TrainOptions], Vid2VidModels]
    build_forward: Callable[[TrainOptions, GroupReplicas, ConditionToImage], WindowForward]
    monitored_metric: str


def _build_vid2vid_networks(opt: TrainOptions) -> Vid2VidModels:
    return build_models(
        configs.generator_config(opt),
        configs.discriminator_config(opt),
        configs.temporal_config(opt),
        has_face_discriminator=opt.add_face_disc,
        encoder=configs.encoder_config(opt),
        has_ema=opt.ema is not None,
    )


def _build_vid2vid_forward(
    opt: TrainOptions, group: GroupReplicas, condition_to_image: ConditionToImage
) -> WindowForward:
    return Vid2VidForward(
        rollout=group.rollout,
        loss_functions=group.build_losses(configs.loss_config(opt)),
        flow_estimator=group.flow_estimator,
        condition_to_image=condition_to_image,
        config=configs.forward_config(opt),
        netE=group.netE,
        teacher=group.teacher,
    )


def _build_single_image_networks(opt: TrainOptions) -> Vid2VidModels:
    return build_single_image_models(
        configs.single_image_config(opt),
        configs.discriminator_config(opt),
        configs.encoder_config(opt),
    )


def _build_single_image_forward(
    opt: TrainOptions, group: GroupReplicas, condition_to_image: ConditionToImage
) -> WindowForward:
    _, discriminators = group.discriminators[0]
    assert discriminators.netD is not None
    return SingleImageForward(
        netG=group.generators[0][0],
        netD=discriminators.netD,
        netE=group.netE,
        perceptual_loss=group.perceptual_losses[0],
        conditions=configs.condition_config(opt),
        loss_config=configs.loss_config(opt),
        condition_to_image=condition_to_image,
    )


def _build_label_prediction_networks(opt: TrainOptions) -> Vid2VidModels:
    return build_label_prediction_networks(configs.label_prediction_config(opt))


def _build_label_prediction_forward(
    opt: TrainOptions, group: GroupReplicas, condition_to_image: ConditionToImage
) -> WindowForward:
    return LabelPredictionForward(
        predictor=group.generators[0][0],
        conditions=configs.condition_config(opt),
        n_history=opt.n_frames_G - 1,
        lambda_warp=opt.lambda_T,
        label_to_image=condition_to_image,
    )


MODEL_REGISTRY = {
    "vid2vid": ModelSpec(_build_vid2vid_networks, _build_vid2vid_forward, "ssim"),
    "single": ModelSpec(_build_single_image_networks, _build_single_image_forward, "ssim"),
    "future_labels": ModelSpec(
        _build_label_prediction_networks, _build_label_prediction_forward, "mean_iou"
    ),
}
