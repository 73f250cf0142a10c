"""What a folder of weights holds the weights of: written beside them, so that the folder alone is enough."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from models.appearance import Looks
from models.conditions import ConditionConfig
from models.generators import GeneratorConfig
from models.synthesis import SynthesisConfig
from util.errors import UserError
from util.files import replacing

FILE = "networks.json"


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
            saved = json.loads(path.read_text(encoding="utf-8"))
            generator = saved.pop("generator")
            generator["foreground"] = tuple(generator["foreground"])
            return Blueprint(GeneratorConfig(**generator), ConditionConfig(**saved.pop("conditions")), **saved)
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            raise UserError(f"{path} does not describe networks ({fault!r}): go on with its run (--continue_train) to "
                            "have it written anew") from fault
