"""torchvision's pretrained networks (VGG19 of the perceptual loss, RAFT), importable beside a CPU-only torch too."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType

import torch

_DETECTION_OPERATORS = (
    "nms",
    "qnms",
)  # compiled in torchvision's CUDA build; its Python code only refers to them
_LIBRARIES: list[torch.library.Library] = []  # a declaration lives as long as its library does


@cache
def import_torchvision() -> ModuleType:
    """`torchvision`, with `torchvision.models` loaded.

    The registry's torchvision is a CUDA build whose operators do not load beside a CPU-only torch; its import then
    stops at the first operator it describes. Only then are the names of those operators declared, which no network
    of ours calls. ImportError when torchvision is absent.
    """
    try:
        return _import_torchvision_models()
    except RuntimeError as problem:
        if "torchvision::nms" not in str(problem):
            raise
    _remove_partial_import()
    _declare_detection_operators()
    return _import_torchvision_models()


def _import_torchvision_models() -> ModuleType:
    importlib.import_module("torchvision.models")
    return sys.modules["torchvision"]


def _remove_partial_import() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare_detection_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for name in _DETECTION_OPERATORS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)
