"""What a folder of weights holds the weights of: written beside them, so that the folder alone is enough."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from models.networks.blocks import NormKind
from models.networks.generators import GeneratorConfig, build_generator
from models.networks.input_encoding import ConditionConfig
from util.errors import UserError
from util.io.atomic import atomic_write
from util.io.file_keys import from_file_keys, to_file_keys

MODEL_CONFIG_FILE = "networks.json"
_MAX_FILE_BYTES = 2**14  # bytes of such a file
MAX_CONFIG_VALUE = (
    4096  # of any number in it, and what follows: beyond lies nothing that was ever trained
)
_MAX_VALUE_BY_FIELD = {"n_downsample": 8, "n_scales": 8, "n_blocks": 100, "n_blocks_local": 100}
_MAX_PARAMETERS = 4 * 10**9  # weights

_FILE_KEYS = {
    "condition_config": "conditions",
    "no_first_img": "begin_with_zeros",
    "is_face": "faces",
}
_GENERATOR_FILE_KEYS = {
    "image_channels": "picture_channels",
    "n_frames_G": "n_frames",
    "checkpoint_activations": "checkpoint",
}


@dataclass(frozen=True)
class ModelConfig:
    """begin_with_zeros, faces: as in `models.inference.synthesizer.SynthesisConfig`."""

    generator: GeneratorConfig
    condition_config: ConditionConfig
    no_first_img: bool = False
    is_face: bool = False

    def save(self, folder: Path) -> None:
        with atomic_write(folder / MODEL_CONFIG_FILE) as temporary:
            temporary.write_text(json.dumps(self._to_json(), indent=1))

    def _to_json(self) -> dict[str, Any]:
        content = to_file_keys(asdict(self), _FILE_KEYS)
        return content | {"generator": to_file_keys(content["generator"], _GENERATOR_FILE_KEYS)}

    @staticmethod
    def load(folder: Path) -> ModelConfig:
        """UserError where there is none, or one that this program did not write."""
        path = folder / MODEL_CONFIG_FILE
        if not path.is_file():
            raise UserError(
                f"{path} is not there: train.py writes it beside a run's weights; for weights from "
                "elsewhere use options.from_checkpoint.load_synthesizer with the flags of their networks"
            )
        try:
            with path.open(encoding="utf-8") as file:
                saved = json.loads(file.read(_MAX_FILE_BYTES))
            generator = from_file_keys(saved.pop("generator"), _GENERATOR_FILE_KEYS)
            generator["foreground"] = tuple(generator["foreground"])
            conditions = ConditionConfig(**saved.pop("conditions"))
            flags = from_file_keys(saved, _FILE_KEYS)
            return _validate(ModelConfig(GeneratorConfig(**generator), conditions, **flags))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
            raise UserError(
                f"{path} does not describe networks ({fault!r}): go on with its run (--continue_train) to "
                "have it written anew"
            ) from fault


def _validate(config: ModelConfig) -> ModelConfig:
    """ValueError for a value of another kind than such files hold, or too large."""
    example = ModelConfig(
        GeneratorConfig(condition_channels=1), ConditionConfig(label_nc=0, instance_edges=False)
    )
    parts = (
        (config, example),
        (config.generator, example.generator),
        (config.condition_config, example.condition_config),
    )
    values = [
        (key, getattr(part, key), known)
        for part, usual in parts
        for key, known in vars(usual).items()
    ]
    for key, value, known in [
        *values,
        *(("foreground", label, 0) for label in config.generator.foreground),
    ]:
        if (
            type(value) is not type(known)
            or isinstance(value, int)
            and not 0 <= value <= _MAX_VALUE_BY_FIELD.get(key, MAX_CONFIG_VALUE)
        ):
            raise ValueError(f"{key} is {value!r}")
    if config.generator.norm not in get_args(NormKind):
        raise ValueError(f"norm is {config.generator.norm!r}")
    with torch.device("meta"):  # counted before memory is given for them
        count = sum(weight.numel() for weight in build_generator(config.generator).parameters())
    if count > _MAX_PARAMETERS:
        raise ValueError(f"{count:,} weights")
    return config
