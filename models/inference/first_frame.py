"""Where the first n_frames_G - 1 images of a sequence come from in synthesis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from models.inference.instance_features import (
    RegionFeatures,
    extract_region_features,
    fill_regions,
    find_majority_labels,
    find_nearest_face,
    get_regions,
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
# from the first n_frames_G - 1 frames (T = 1 each) to their images, (B, n_frames_G - 1, 3, H, W) in [-1, 1]
FirstImageProvider = Callable[[Sequence[Clip]], Tensor]


def get_real_images(frames: Sequence[Clip]) -> Tensor:
    """Return the real images of the frames (`--use_real_img`)."""
    return torch.cat([frame.image for frame in frames if frame.image is not None], dim=1)


def make_zero_images(frames: Sequence[Clip]) -> Tensor:
    """Return zeros, for generators that are trained to start without images (`--no_first_img`)."""
    condition = frames[0].condition
    size = condition.shape[-2:]
    return torch.zeros(len(condition), len(frames), 3, *size, device=condition.device)


@dataclass(frozen=True)
class SingleImageProvider:
    """Generates each first frame by itself with a single-image network (`--single_G`, `--use_single_G`).

    The network is loaded for the first frames of a sequence and freed afterwards, so that the video
    generators can use its memory. In networks with instance features, a face gets the features of the
    training face that is nearest to the real image; regions of label maps get sampled ones.

    Attributes:
        files: the network's files.
        label_nc: number of labels of the condition, 0 for an image as condition.
        is_face: the regions are parts of faces.
        seed: of the sampled features.
    """

    files: SingleImageFiles
    label_nc: int
    is_face: bool
    seed: int = 0

    @torch.no_grad()
    def __call__(self, frames: Sequence[Clip]) -> Tensor:
        """Return the images (B, T, 3, H, W) of T frames."""
        model = load_single_image_model(self.files, frames[0].condition.device)
        return torch.cat([self.generate(model, frame) for frame in frames], dim=1)

    def generate(self, model: SingleImageModel, frame: Clip) -> Tensor:
        """Generate the image (B, 1, 3, H, W) of one frame (T = 1)."""
        height, width = frame.condition.shape[-2:]
        padded = pad_clip(frame, model.size_multiple)
        condition = self.make_condition_config(model.config, frame).encode_dense(padded)[:, 0]
        if model.netE is None:
            image = model.netG(condition)
        else:
            image = model.netG(condition, self.make_feature_maps(model, padded))
        return image.unsqueeze(1)[..., :height, :width]

    def make_condition_config(self, config: SingleImageConfig, frame: Clip) -> ConditionConfig:
        """Return the encoding that the network was trained with.

        It has the instance edge if the network has a channel for it, independent of the video generators.

        Raises:
            UserError: the network was trained on other conditions, or instance maps are missing.
        """
        n_channels = self.label_nc or frame.condition.shape[2]
        has_edges = config.condition_channels == n_channels + 1
        if has_edges and frame.instance is None:
            raise UserError(
                f"{self.files.generator} needs instance edges: add --use_instance and the _inst folder"
            )
        if config.condition_channels != n_channels + has_edges:
            raise UserError(
                f"{self.files.generator} expects {config.condition_channels} condition channels, this run has "
                f"{n_channels} (--label_nc or --input_nc): pass a network for this data with --single_G"
            )
        return ConditionConfig(self.label_nc, has_edges)

    def make_feature_maps(self, model: SingleImageModel, frame: Clip) -> Tensor:
        """Return the features of each region as maps (B, n_features, H, W).

        Raises:
            UserError: the condition has no regions, or a face has no real image.
        """
        if not (self.is_face or self.label_nc):
            raise UserError(
                f"{self.files.generator} uses instance features, which need label maps (--label_nc) or "
                "faces (--dataset_mode face)"
            )
        select = self.find_nearest_features if self.is_face else self.sample_features
        maps = []
        for batch_index, ids in enumerate(get_regions(frame)[:, 0, 0]):
            maps.append(fill_regions(select(model, frame, batch_index, ids), ids))
        return torch.stack(maps)

    def sample_features(
        self, model: SingleImageModel, frame: Clip, batch_index: int, regions: Tensor
    ) -> RegionFeatures:
        """Sample features of training regions with the same label."""
        assert model.feature_table is not None
        labels = find_majority_labels(regions, frame.condition[batch_index, 0, 0])
        return sample_table_features(labels, model.feature_table, self.seed)

    def find_nearest_features(
        self, model: SingleImageModel, frame: Clip, batch_index: int, regions: Tensor
    ) -> RegionFeatures:
        """Return the features of the training face that is nearest to the real image."""
        assert model.feature_table is not None and model.netE is not None
        if frame.image is None:
            raise UserError(
                f"{self.files.generator} selects the features of a face by its real image, which is missing: "
                "use --no_first_img, or a network without features"
            )
        encoded = model.netE(frame.image[batch_index], regions[None, None])[0]
        return find_nearest_face(extract_region_features(encoded, regions), model.feature_table)


@dataclass(frozen=True)
class FirstFrameConfig:
    """Source of the first images.

    Attributes:
        source: "zeros", "real", or "single" for a single-image network.
        path: of the single-image network: a run's folder or a .pth file.
        label_nc: number of labels of the condition, 0 for an image as condition.
        is_face: the regions are parts of faces.
        seed: of the sampled features.
    """

    source: FirstFrameSource
    path: Path = Path()
    label_nc: int = 0
    is_face: bool = False
    seed: int = 0


def build_first_image_provider(config: FirstFrameConfig) -> tuple[FirstImageProvider, bool]:
    """Return the provider, and whether it needs the real images.

    Raises:
        UserError: the single-image network does not exist.
    """
    if config.source == "zeros":
        return make_zero_images, False
    if config.source == "real":
        return get_real_images, True
    files = find_single_image_files(config.path)
    provider = SingleImageProvider(files, config.label_nc, config.is_face, config.seed)
    needs_real_images = config.is_face and files.has_encoder
    return provider, needs_real_images
