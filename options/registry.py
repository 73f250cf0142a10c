"""What `--model` names: a method is how its networks are made and how they are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.networks.collection import Vid2VidModels, build_models, build_single_image_models
from models.training.label_prediction import LabelPredictionTrainer, build_label_prediction_networks
from models.training.single_image import SingleImageTrainer
from models.training.trainer import Trainer
from options import configs
from options.schema import TrainOptions


@dataclass(frozen=True)
class ModelSpec:
    build_networks: Callable[[TrainOptions], Vid2VidModels]
    trainer_class: type[Trainer]


def _build_vid2vid_networks(opt: TrainOptions) -> Vid2VidModels:
    return build_models(
        configs.generator_config(opt),
        configs.discriminator_config(opt),
        configs.temporal_config(opt),
        has_face_discriminator=opt.add_face_disc,
        encoder=configs.encoder_config(opt),
        has_ema=opt.ema is not None,
    )


def _build_single_image_networks(opt: TrainOptions) -> Vid2VidModels:
    return build_single_image_models(
        configs.single_image_config(opt),
        configs.discriminator_config(opt),
        configs.encoder_config(opt),
    )


def _build_label_prediction_networks(opt: TrainOptions) -> Vid2VidModels:
    return build_label_prediction_networks(configs.label_prediction_config(opt))


MODEL_REGISTRY = {
    "vid2vid": ModelSpec(_build_vid2vid_networks, Trainer),
    "single": ModelSpec(_build_single_image_networks, SingleImageTrainer),
    "future_labels": ModelSpec(_build_label_prediction_networks, LabelPredictionTrainer),
}
