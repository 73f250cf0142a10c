"""Configuration of a run's networks, saved with its weights, so that the folder is enough to build them."""

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
_MAX_FILE_BYTES = 2**14
MAX_CONFIG_VALUE = 4096  # of every number, unless a smaller limit follows
_MAX_VALUE_BY_FIELD = {"n_downsample": 8, "n_scales": 8, "n_blocks": 100, "n_blocks_local": 100}
_MAX_PARAMETERS = 4 * 10**9

# keys in the file that are not the fields' names
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
    """Configuration of a video run's networks.

    Attributes:
        generator: Configuration of the generator.
        condition_config: How conditions are encoded.
        no_first_img: As in `models.inference.synthesizer.SynthesisConfig`.
        is_face: As in `models.inference.synthesizer.SynthesisConfig`.
    """

    generator: GeneratorConfig
    condition_config: ConditionConfig
    no_first_img: bool = False
    is_face: bool = False

    def save(self, folder: Path) -> None:
        """Write the configuration file."""
        with atomic_write(folder / MODEL_CONFIG_FILE) as temporary:
            temporary.write_text(json.dumps(self._to_json(), indent=1))

    def _to_json(self) -> dict[str, Any]:
        content = to_file_keys(asdict(self), _FILE_KEYS)
        return content | {"generator": to_file_keys(content["generator"], _GENERATOR_FILE_KEYS)}

    @staticmethod
    def load(folder: Path) -> ModelConfig:
        """Read the configuration file.

        Raises:
            UserError: There is no such file, or it was not written by this program.
        """
        path = folder / MODEL_CONFIG_FILE
        if not path.is_file():
            raise UserError(
                f"{path} is not there: train.py writes it with a run's weights; for other weights "
                "use options.build_inference.load_synthesizer with the flags of their networks"
            )
        try:
            with path.open(encoding="utf-8") as file:
                saved = json.loads(file.read(_MAX_FILE_BYTES))
            generator = from_file_keys(saved.pop("generator"), _GENERATOR_FILE_KEYS)
            generator["foreground"] = tuple(generator["foreground"])
            conditions = ConditionConfig(**saved.pop("conditions"))
            flags = from_file_keys(saved, _FILE_KEYS)
            return _validate(ModelConfig(GeneratorConfig(**generator), conditions, **flags))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{path} does not describe networks ({error!r}): resume its run (--continue_train) to "
                "write it again"
            ) from error


def _validate(config: ModelConfig) -> ModelConfig:
    """Return the configuration; raise ValueError for a value of another type than expected, or too large."""
    example = ModelConfig(
        GeneratorConfig(condition_channels=1), ConditionConfig(label_nc=0, instance_edges=False)
    )
    _validate_fields(config, example)
    _validate_fields(config.generator, example.generator)
    _validate_fields(config.condition_config, example.condition_config)
    for label in config.generator.foreground:
        _validate_value("foreground", label, 0)
    if config.generator.norm not in get_args(NormKind):
        raise ValueError(f"norm is {config.generator.norm!r}")
    with torch.device("meta"):  # counts parameters without allocating them
        count = sum(weight.numel() for weight in build_generator(config.generator).parameters())
    if count > _MAX_PARAMETERS:
        raise ValueError(f"{count:,} weights")
    return config


def _validate_fields(config: object, example: object) -> None:
    for name, expected in vars(example).items():
        _validate_value(name, getattr(config, name), expected)


def _validate_value(name: str, value: object, example: object) -> None:
    """Raise ValueError for a value of another type than the example, and for a number out of range."""
    limit = _MAX_VALUE_BY_FIELD.get(name, MAX_CONFIG_VALUE)
    is_out_of_range = isinstance(value, int) and not 0 <= value <= limit
    if type(value) is not type(example) or is_out_of_range:
        raise ValueError(f"{name} is {value!r}")
