"""How a data set was prepared, kept beside it, so that a new video can be brought to a trained network the same way."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from data.footage import Footage
from data.prepare.bodies import Bodies
from data.prepare.dataset import Preparation, as_far_as_it_goes, resized, write_piece
from data.prepare.faces import Landmarks
from data.prepare.labels import Labels
from data.prepare.makers import Edges, Maker, OpenPose
from data.prepare.split import Piece
from util.errors import UserError
from util.files import replacing

MAKERS: dict[str, type] = {"edges": Edges, "face": Landmarks, "pose": Bodies, "street": Labels, "labels": Labels}
FILE = "prepare.json"


@dataclass(frozen=True)
class Recipe:
    """mode: of `scripts/prepare.py`."""

    mode: str
    maker: Maker
    how: Preparation

    def save(self, root: Path) -> None:
        with replacing(root / FILE) as temporary:
            temporary.write_text(json.dumps({"mode": self.mode, "maker": asdict(self.maker),  # type: ignore[call-overload]
                                             "how": asdict(self.how)}, default=str, indent=1))

    @staticmethod
    def load(root: Path) -> Recipe:
        """UserError where the data set was not made by `scripts/prepare.py`."""
        path = root / FILE
        if not path.is_file():
            raise UserError(f"{path} is not there: --input needs a --dataroot that scripts/prepare.py has made, to do "
                            "with the video what was done there")
        saved = json.loads(path.read_text())
        return Recipe(saved["mode"], _maker(saved["mode"], saved["maker"]), Preparation(**saved["how"]))


def _maker(mode: str, settings: dict[str, Any]) -> Maker:
    for key in {"folder", "source"} & set(settings):
        settings[key] = Path(settings[key])
    if "things" in settings:
        settings["things"] = tuple(settings["things"])
    return (OpenPose if "folder" in settings else MAKERS[mode])(**settings)


def prepare_input(footage: Footage, root: Path, recipe: Recipe, start: int = 0,
                  count: float = float("inf")) -> list[str]:
    """A video's frames from `start` on, at most `count`, as the one sequence of `root`'s test phase. Returns what was
    wrong with it: one that breaks off is used up to there.

    UserError: nothing can be made of it, or the recipe's conditions are files that belong to another video."""
    for path in (getattr(recipe.maker, key, None) for key in ("folder", "source")):
        if path is not None and path.is_dir():
            raise UserError(f"the conditions of this data set came from {path}: for {footage.source} prepare its own "
                            "with scripts/prepare.py and give that as --dataroot")
    stop = None if count == float("inf") else start + int(count)
    notes: list[str] = []
    frames = (picture if recipe.how.width is None else resized(picture, recipe.how.width)
              for picture in islice(as_far_as_it_goes(footage.frames(), notes), start, stop))
    written = write_piece(Piece(footage.name, start, stop or start, "test"), frames, root, recipe.maker)
    if written.reason:
        raise UserError(f"{footage.source}: {written.reason}; give another video, or other seconds of it")
    return [f"{footage.source} {note}" for note in notes]
