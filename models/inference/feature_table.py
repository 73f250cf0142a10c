"""The published file format of instance features, `features.npy`.

It is an .npy file of one pickled dict: part or label id -> (rows, n_features + 1) floats. A pickle can run
any code, so the reader admits only what such a table consists of.
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

# id -> (rows, n_features + 1); the last column is not a feature
FeatureTable = Mapping[int, NDArray[np.floating]]


def _list_allowed_globals() -> dict[tuple[str, str], Any]:
    """Return what numpy's pickles of arrays and scalars refer to, by module and name."""
    allowed: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }
    examples = {"_reconstruct": np.empty(0), "scalar": np.int64(0)}
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # numpy 1 and numpy 2
        for name, example in examples.items():
            allowed[module, name] = example.__reduce__()[0]
    return allowed


_ALLOWED_GLOBALS = _list_allowed_globals()


class _TableUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which no feature table needs")
        return _ALLOWED_GLOBALS[module, name]


def read_feature_table(path: Path) -> FeatureTable:
    """Read a feature table without running any code from the file.

    Raises:
        UserError: the file is missing, is not a feature table, or would run code.
    """
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: the feature table is stored next to the weights of its encoder "
            "(train.py --model single writes it at the end of training)"
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
    ) as error:
        raise UserError(
            f"{path} is not a feature table ({error}): download it again, or train its encoder"
        ) from None
    return _validate(table, path)


def _read_object(file: BinaryIO) -> object:
    """Read the single object of a 0-dimensional object array."""
    header_readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    shape, _, dtype = header_readers[version](file)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"it holds a {dtype} array of shape {shape}, expected one dict")
    # The published file was written by Python 2, whose byte strings decode as latin1.
    array = _TableUnpickler(file, encoding="latin1").load()
    return array.item() if isinstance(array, np.ndarray) and array.shape == () else array


def _validate(table: object, path: Path) -> FeatureTable:
    if not isinstance(table, dict) or not table:
        raise UserError(
            f"{path} holds a {type(table).__name__}, expected a dict of features per part or label: "
            "download it again, or train its encoder"
        )
    for key, rows in table.items():
        if not (isinstance(key, int | np.integer) and _is_valid_entry(rows)):
            raise UserError(
                f"{path}: entry {key!r} is not a table of finite numbers (rows, n_features + 1): "
                "download it again, or train its encoder"
            )
    if len({rows.shape[1] for rows in table.values()}) != 1:
        raise UserError(
            f"{path}: its entries have different numbers of features: download it again, or train its encoder"
        )
    return {int(key): rows for key, rows in table.items()}


def _is_valid_entry(rows: object) -> bool:
    return (
        isinstance(rows, np.ndarray)
        and rows.ndim == 2
        and len(rows) > 0
        and np.issubdtype(rows.dtype, np.floating)
        and bool(np.isfinite(rows).all())
    )


def write_feature_table(path: Path, table: FeatureTable) -> None:
    """Write a feature table in the published format."""
    with atomic_write(path) as temporary:
        np.save(temporary, np.array(dict(table), dtype=object), allow_pickle=True)
