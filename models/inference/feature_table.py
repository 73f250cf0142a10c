"""`features.npy` as published: a dict {part or label id: (rows, n + 1) numbers} that numpy pickled into an array.

A pickle can run any code, so this reader admits nothing but what such a table is made of.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from util.errors import UserError
from util.io.atomic import atomic_write

FeatureTable = Mapping[
    int, NDArray[np.floating]
]  # id -> (rows, n + 1); the last column is no feature

_ALLOWED_GLOBALS: Mapping[tuple[str, str], Any] = {
    **{
        (module, name): example.__reduce__()[0]  # how numpy restores arrays and single numbers
        for module in (
            "numpy.core.multiarray",
            "numpy._core.multiarray",
        )  # before and since numpy 2
        for name, example in (("_reconstruct", np.empty(0)), ("scalar", np.int64(0)))
    },
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _TableUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which no feature table needs")
        return _ALLOWED_GLOBALS[module, name]


def read_feature_table(path: Path) -> FeatureTable:
    """UserError for a file that is no such table, or that would run anything."""
    if not path.is_file():
        raise UserError(
            f"{path} is not there: the feature table belongs beside the weights of its encoder "
            "(train.py --model single writes it when it ends)"
        )
    try:
        with path.open("rb") as file:
            table = _read_object(file)
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
    ) as problem:
        raise UserError(
            f"{path} is not a feature table: {problem}: fetch it again, or train its encoder"
        ) from None
    return _validate(table, path)


def _read_object(file: BinaryIO) -> object:
    """The one object of a 0-dimensional object array."""
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, dtype = header[np.lib.format.read_magic(file)](file)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"it holds a {dtype} array of shape {shape}, expected one dict")
    array = _TableUnpickler(
        file, encoding="latin1"
    ).load()  # the published file was written by Python 2
    return array.item() if isinstance(array, np.ndarray) and array.shape == () else array


def _validate(table: object, path: Path) -> FeatureTable:
    if not isinstance(table, dict) or not table:
        raise UserError(
            f"{path} holds a {type(table).__name__}, expected a dict of features for each part or label"
        )
    for key, rows in table.items():
        if not (
            isinstance(key, int | np.integer)
            and isinstance(rows, np.ndarray)
            and rows.ndim == 2
            and len(rows)
            and np.issubdtype(rows.dtype, np.floating)
            and np.isfinite(rows).all()
        ):
            raise UserError(
                f"{path}: entry {key!r} is not a table of finite numbers (rows, features + 1)"
            )
    if len({rows.shape[1] for rows in table.values()}) != 1:
        raise UserError(f"{path}: its parts have different numbers of features")
    return {int(key): rows for key, rows in table.items()}


def write_feature_table(path: Path, table: FeatureTable) -> None:
    """In the published form."""
    with atomic_write(path) as temporary:
        np.save(temporary, np.array(dict(table), dtype=object), allow_pickle=True)
