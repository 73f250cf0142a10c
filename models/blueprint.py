"""What a folder of weights holds the weights of: written beside them, so that the folder alone is enough."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import torch

from models.appearance import Looks
from models.blocks import NormKind
from models.conditions import ConditionConfig
from models.generators import GeneratorConfig, build_generator
from models.synthesis import SynthesisConfig
from util.errors import UserError
from util.files import replacing

FILE = "networks.json"
LONGEST = 2**14  # bytes of such a file
LARGEST = 4096  # of any number in it, and what follows: beyond lies nothing that was ever trained
DEEPEST = {"n_downsample": 8, "n_scales": 8, "n_blocks": 100, "n_blocks_local": 100}
HEAVIEST = 4 * 10**9  # weights


@dataclass(frozen=True)
class Blueprint:
    """begin_with_zeros, faces: as in SynthesisConfig."""

    generator: GeneratorConfig
    conditions: ConditionConfig
    begin_with_zeros: bool = False
    faces: bool = False

    def synthesis(self, looks: Looks | None = None, amp: str = "off") -> SynthesisConfig:
        """looks: of regions, which only networks with features have. amp: as in SynthesisConfig."""
        return SynthesisConfig(self.conditions, self.generator.n_frames, self.generator.size_multiple,
                               self.begin_with_zeros, looks, self.faces, amp)

    def save(self, folder: Path) -> None:
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(folder: Path) -> Blueprint:
        """UserError where there is none, or one that this program did not write."""
        path = folder / FILE
        if not path.is_file():
            raise UserError(f"{path} is not there: train.py writes it beside a run's weights; for weights from "
                            "elsewhere use options.loading.load_synthesizer with the flags of their networks")
        try:
            with path.open(encoding="utf-8") as file:
                saved = json.loads(file.read(LONGEST))
            generator = saved.pop("generator")
            generator["foreground"] = tuple(generator["foreground"])
            conditions = ConditionConfig(**saved.pop("conditions"))
            return _checked(Blueprint(GeneratorConfig(**generator), conditions, **saved))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
            raise UserError(f"{path} does not describe networks ({fault!r}): go on with its run (--continue_train) to "
                            "have it written anew") from fault


def _checked(blueprint: Blueprint) -> Blueprint:
    """ValueError for a value of another kind than such files hold, or too large."""
    example = Blueprint(GeneratorConfig(condition_channels=1), ConditionConfig(label_nc=0, instance_edges=False))
    parts = ((blueprint, example), (blueprint.generator, example.generator), (blueprint.conditions, example.conditions))
    values = [(key, getattr(part, key), known) for part, usual in parts for key, known in vars(usual).items()]
    for key, value, known in [*values, *(("foreground", label, 0) for label in blueprint.generator.foreground)]:
        if type(value) is not type(known) or isinstance(value, int) and not 0 <= value <= DEEPEST.get(key, LARGEST):
            raise ValueError(f"{key} is {value!r}")
    if blueprint.generator.norm not in get_args(NormKind):
        raise ValueError(f"norm is {blueprint.generator.norm!r}")
    with torch.device("meta"):  # counted before memory is given for them
        count = sum(weight.numel() for weight in build_generator(blueprint.generator).parameters())
    if count > HEAVIEST:
        raise ValueError(f"{count:,} weights")
    return blueprint
