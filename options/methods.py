"""What `--model` names: a method is how its networks are made and how they are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.future_labels_trainer import FutureLabelsTrainer, build_future_networks
from models.networks import Networks, build_networks, build_single_networks
from models.single_trainer import SingleTrainer
from models.trainer import Trainer
from options import configs
from options.parsing import Options


@dataclass(frozen=True)
class Method:
    networks: Callable[[Options], Networks]
    trainer: type[Trainer]


def _video_networks(o: Options) -> Networks:
    return build_networks(configs.generator(o), configs.discriminator(o), configs.temporal(o), face=o.add_face_disc,
                          encoder=configs.encoder(o), averaged=o.ema is not None)


def _single_networks(o: Options) -> Networks:
    return build_single_networks(configs.single(o), configs.discriminator(o), configs.encoder(o))


def _future_networks(o: Options) -> Networks:
    return build_future_networks(configs.future_labels(o))


METHODS = {
    "vid2vid": Method(_video_networks, Trainer),
    "single": Method(_single_networks, SingleTrainer),
    "future_labels": Method(_future_networks, FutureLabelsTrainer),
}
