"""Import of torchvision that also works with a CPU-only build of torch.

PyPI's torchvision for Linux is a CUDA build. With a CPU-only torch (from torch's CPU index, or the
CPU wheel that this project is tested with) its compiled operators do not load, and
`import torchvision` fails with "operator torchvision::nms does not exist". Classification and flow
networks such as VGG19 and RAFT need none of these operators.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType

import torch

_DETECTION_OPERATORS = ("nms", "qnms")  # torchvision's Python code refers to them at import
_LIBRARIES: list[torch.library.Library] = []  # operators exist as long as their library object


@cache
def import_torchvision() -> ModuleType:
    """Return `torchvision` with `torchvision.models` imported.

    If the import fails for lack of the detection operators, declare them without implementation
    and import again.

    Raises:
        ImportError: torchvision is not installed.
    """
    try:
        return _import_torchvision_models()
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    _remove_partial_import()
    _declare_detection_operators()
    return _import_torchvision_models()


def _import_torchvision_models() -> ModuleType:
    importlib.import_module("torchvision.models")
    return sys.modules["torchvision"]


def _remove_partial_import() -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == "torchvision":
            del sys.modules[name]


def _declare_detection_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for name in _DETECTION_OPERATORS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)
