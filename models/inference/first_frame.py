"""Where the first tG-1 images of a sequence come from in synthesis (SPEC 7): one small interface for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from models.inference.region_features import (
    RegionFeatures,
    extract_region_features,
    fill_regions,
    find_majority_labels,
    find_nearest_face,
    sample_table_features,
)
from models.inference.single_image import (
    SingleImageFiles,
    SingleImageModel,
    find_single_image_files,
    load_single_image_model,
)
from models.networks.input_encoding import ConditionConfig, pad_clip
from models.networks.pix2pixhd import SingleImageConfig
from util.clip import Clip
from util.errors import UserError

FirstFrameSource = Literal["zeros", "real", "single"]
FirstImageProvider = Callable[
    [Sequence[Clip]], Tensor
]  # the first tG-1 frames -> (B, tG-1, 3, H, W) in [-1, 1]


def get_real_images(frames: Sequence[Clip]) -> Tensor:
    """`--use_real_img`: as they are in the data."""
    return torch.cat([frame.image for frame in frames if frame.image is not None], dim=1)


def make_zero_images(frames: Sequence[Clip]) -> Tensor:
    """`--no_first_img`: nothing; the network was trained to begin by itself."""
    condition = frames[0].condition
    return torch.zeros(
        condition.shape[0], len(frames), 3, *condition.shape[-2:], device=condition.device
    )


@dataclass(frozen=True)
class SingleImageProvider:
    """`--use_single_G`, `--single_G`: a single-image network paints each frame alone, from its own condition.

    The network is loaded for the first frames of a sequence and let go with them: the video network has the memory.
    label_nc: labels of the condition, 0 for none. faces: whether the regions are parts of faces. With features, a face
    looks like the training face that is nearest to the real image; regions of label maps draw theirs by `seed`.
    """

    files: SingleImageFiles
    label_nc: int
    is_face: bool
    seed: int = 0

    @torch.no_grad()
    def __call__(self, frames: Sequence[Clip]) -> Tensor:
        single = load_single_image_model(self.files, frames[0].condition.device)
        return torch.cat([self.generate(single, frame) for frame in frames], dim=1)

    def generate(self, model: SingleImageModel, frame: Clip) -> Tensor:
        """One frame (B, T=1) -> (B, 1, 3, H, W)."""
        height, width = frame.condition.shape[-2:]
        padded = pad_clip(frame, model.size_multiple)
        condition = self.make_condition_config(model.config, frame).encode_dense(padded)[:, 0]
        features = [self.make_feature_maps(model, padded)] if model.netE else []
        return model.netG(condition, *features).unsqueeze(1)[..., :height, :width]

    def make_condition_config(self, config: SingleImageConfig, frame: Clip) -> ConditionConfig:
        """With the instance edge if the network has a channel for it, whatever the video network sees."""
        channels = self.label_nc or frame.condition.shape[2]
        edges = config.condition_channels == channels + 1
        if edges and frame.instance is None:
            raise UserError(
                f"{self.files.generator} sees instance edges: give --use_instance and the _inst folder"
            )
        if config.condition_channels != channels + edges:
            raise UserError(
                f"{self.files.generator} sees {config.condition_channels} condition channels, this run has "
                f"{channels} (--label_nc or --input_nc): give the network of this data with --single_G"
            )
        return ConditionConfig(self.label_nc, edges)

    def make_feature_maps(self, model: SingleImageModel, frame: Clip) -> Tensor:
        """(B, n_features, H, W): how each region is to look."""
        if not (self.is_face or self.label_nc):
            raise UserError(
                f"{self.files.generator} paints with features of regions: it needs label maps "
                "(--label_nc) or faces (--dataset_mode face)"
            )
        regions = frame.condition if frame.instance is None else frame.instance
        vectors_of = self.find_nearest_features if self.is_face else self.sample_features
        return torch.stack(
            [
                fill_regions(vectors_of(model, frame, b, ids), ids)
                for b, ids in enumerate(regions[:, 0, 0])
            ]
        )

    def sample_features(
        self, model: SingleImageModel, frame: Clip, batch_index: int, regions: Tensor
    ) -> RegionFeatures:
        assert model.feature_table is not None
        return sample_table_features(
            find_majority_labels(regions, frame.condition[batch_index, 0, 0]),
            model.feature_table,
            self.seed,
        )

    def find_nearest_features(
        self, model: SingleImageModel, frame: Clip, batch_index: int, regions: Tensor
    ) -> RegionFeatures:
        assert model.feature_table is not None and model.netE is not None
        if frame.image is None:
            raise UserError(
                f"{self.files.generator} chooses how a face looks by its real image, and none was given: "
                "give --no_first_img, or a network without features"
            )
        encoded = model.netE(frame.image[batch_index], regions[None, None])[0]
        return find_nearest_face(extract_region_features(encoded, regions), model.feature_table)


@dataclass(frozen=True)
class FirstFrameConfig:
    """path: of the single-image network. faces: whether the run's regions are parts of faces."""

    source: FirstFrameSource
    path: Path = Path()
    label_nc: int = 0
    is_face: bool = False
    seed: int = 0


def build_first_image_provider(config: FirstFrameConfig) -> tuple[FirstImageProvider, bool]:
    """And whether they need the real images. UserError for a single-image network that is not there."""
    if config.source == "zeros":
        return make_zero_images, False
    if config.source == "real":
        return get_real_images, True
    files = find_single_image_files(config.path)
    return SingleImageProvider(
        files, config.label_nc, config.is_face, config.seed
    ), config.is_face and files.has_encoder
