"""Where the first tG-1 pictures of a sequence come from in synthesis (SPEC 7): one small interface for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from models.conditions import ConditionConfig, pad_clip
from models.regions import Vectors, drawn_rows, labels_of, nearest_face, paint_regions, region_vectors
from models.single import SingleConfig
from models.single_files import SingleFiles, SingleImage, find_single, load_single
from util.clip import Clip
from util.errors import UserError

FirstSource = Literal["zeros", "real", "single"]
FirstPictures = Callable[[Sequence[Clip]], Tensor]  # the first tG-1 frames -> (B, tG-1, 3, H, W) in [-1, 1]


def real_pictures(frames: Sequence[Clip]) -> Tensor:
    """`--use_real_img`: as they are in the data."""
    return torch.cat([frame.picture for frame in frames if frame.picture is not None], dim=1)


def zeros(frames: Sequence[Clip]) -> Tensor:
    """`--no_first_img`: nothing; the network was trained to begin by itself."""
    condition = frames[0].condition
    return torch.zeros(condition.shape[0], len(frames), 3, *condition.shape[-2:], device=condition.device)


@dataclass(frozen=True)
class SinglePainter:
    """`--use_single_G`, `--single_G`: a single-image network paints each frame alone, from its own condition.

    The network is loaded for the first frames of a sequence and let go with them: the video network has the memory.
    label_nc: labels of the condition, 0 for none. faces: whether the regions are parts of faces. With features, a face
    looks like the training face that is nearest to the real picture; regions of label maps draw theirs by `seed`.
    """

    files: SingleFiles
    label_nc: int
    faces: bool
    seed: int = 0

    @torch.no_grad()
    def __call__(self, frames: Sequence[Clip]) -> Tensor:
        single = load_single(self.files, frames[0].condition.device)
        return torch.cat([self.paint(single, frame) for frame in frames], dim=1)

    def paint(self, single: SingleImage, frame: Clip) -> Tensor:
        """One frame (B, T=1) -> (B, 1, 3, H, W)."""
        height, width = frame.condition.shape[-2:]
        padded = pad_clip(frame, single.size_multiple)
        condition = self.conditions(single.config, frame).encode(padded)[:, 0]
        features = [self.features(single, padded)] if single.encoder else []
        return single.network(condition, *features).unsqueeze(1)[..., :height, :width]

    def conditions(self, config: SingleConfig, frame: Clip) -> ConditionConfig:
        """With the instance edge if the network has a channel for it, whatever the video network sees."""
        channels = self.label_nc or frame.condition.shape[2]
        edges = config.condition_channels == channels + 1
        if edges and frame.instance is None:
            raise UserError(f"{self.files.generator} sees instance edges: give --use_instance and the _inst folder")
        if config.condition_channels != channels + edges:
            raise UserError(f"{self.files.generator} sees {config.condition_channels} condition channels, this run has "
                            f"{channels} (--label_nc or --input_nc): give the network of this data with --single_G")
        return ConditionConfig(self.label_nc, edges)

    def features(self, single: SingleImage, frame: Clip) -> Tensor:
        """(B, n_features, H, W): how each region is to look."""
        if not (self.faces or self.label_nc):
            raise UserError(f"{self.files.generator} paints with features of regions: it needs label maps "
                            "(--label_nc) or faces (--dataset_mode face)")
        regions = frame.condition if frame.instance is None else frame.instance
        vectors_of = self.nearest if self.faces else self.drawn
        return torch.stack([paint_regions(vectors_of(single, frame, b, ids), ids)
                            for b, ids in enumerate(regions[:, 0, 0])])

    def drawn(self, single: SingleImage, frame: Clip, b: int, regions: Tensor) -> Vectors:
        assert single.table is not None
        return drawn_rows(labels_of(regions, frame.condition[b, 0, 0]), single.table, self.seed)

    def nearest(self, single: SingleImage, frame: Clip, b: int, regions: Tensor) -> Vectors:
        assert single.table is not None and single.encoder is not None
        if frame.picture is None:
            raise UserError(f"{self.files.generator} chooses how a face looks by its real picture, and none was given: "
                            "give --no_first_img, or a network without features")
        encoded = single.encoder(frame.picture[b], regions[None, None])[0]
        return nearest_face(region_vectors(encoded, regions), single.table)


@dataclass(frozen=True)
class FirstFrameConfig:
    """path: of the single-image network. faces: whether the run's regions are parts of faces."""

    source: FirstSource
    path: Path = Path()
    label_nc: int = 0
    faces: bool = False
    seed: int = 0


def choose_first_pictures(config: FirstFrameConfig) -> tuple[FirstPictures, bool]:
    """And whether they need the real pictures. UserError for a single-image network that is not there."""
    if config.source == "zeros":
        return zeros, False
    if config.source == "real":
        return real_pictures, True
    files = find_single(config.path)
    return SinglePainter(files, config.label_nc, config.faces, config.seed), config.faces and files.has_encoder
