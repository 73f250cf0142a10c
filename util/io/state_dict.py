"""Files that survive: written whole or not at all, read strictly and without running code."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from util.errors import UserError
from util.io.atomic import write_files_atomically
from util.runtime.text import is_printable

# What torch, its unpickler and zipfile raise on files that are broken or made to break them.
_BROKEN_FILE_ERRORS = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    AssertionError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    ImportError,
    OSError,
)
_DEFAULT_HINT = (
    "give the flags that it was trained with (ngf, n_blocks, n_scales_spatial, norm, ...)"
)


def save_files_atomically(folder: Path, files: Mapping[str, object]) -> None:
    """Files that belong together, all replaced or none (`util.io.atomic.write_files_atomically`). Text is written as it is,
    anything else as torch does. OSError: nothing was replaced."""
    write_files_atomically(
        folder, {name: partial(_write, content) for name, content in files.items()}
    )


def _write(content: object, file: BinaryIO) -> None:
    if isinstance(content, str):
        file.write(content.encode())
        return
    try:
        torch.save(content, file)
    except (
        RuntimeError
    ) as fault:  # torch's writer, which closes an archive that the disk did not take
        if isinstance(fault.__context__, OSError):
            raise fault.__context__ from None
        raise


def safe_load_dict(path: Path, flag: str) -> dict[str, Any]:
    """A saved dict of tensors, numbers and text. Nothing in it is executed, and what it says of its sizes is checked
    before any memory is given. UserError names the flag to mend."""
    if not path.is_file():
        raise UserError(f"{path} is not there: give an existing file ({flag})")
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Detected pickle protocol"
            )  # which says nothing to whoever reads a file
            state = torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN_FILE_ERRORS as problem:
        reason = (
            str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        )
        raise UserError(f"{path} is not a file of weights, or broken: {reason} ({flag})") from None
    if not isinstance(state, dict):
        raise UserError(
            f"{path} holds a {type(state).__name__}, expected a dict of weights ({flag})"
        )
    return state


def safe_load_state_dict(path: Path, flag: str) -> dict[str, Tensor]:
    """As `read_file`, and every entry is a plain tensor under a name."""
    state = safe_load_dict(path, flag)
    for key, value in state.items():
        if not isinstance(key, str) or not is_printable(key) or not _is_dense_cpu_tensor(value):
            raise UserError(
                f"{path} holds {key!r}: {type(value).__name__}, expected named weights only "
                f"({flag})"
            )
    return state


def _is_dense_cpu_tensor(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_complex()
        and not value.is_quantized
    )


def _check_archive(path: Path) -> None:
    """The checksums of torch's zip files, which torch itself does not look at. Its entries lie there uncompressed and
    apart; others are made to fill the memory. ValueError says what is wrong. Older files have no checksums."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("it claims to hold more than it is long")
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} does not fit: it was damaged on its way")


def _summarize_names(title: str, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} {title}: {', '.join(names[:3])}{more}" if names else ""


def describe_state_dict_mismatch(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """What keeps a state dict from being this network's, in words; '' when nothing does."""
    own = network.state_dict()
    shapes = [
        f"{key} {tuple(value.shape)} here, {tuple(state[key].shape)} in the file"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    found = (
        _summarize_names("missing", [key for key in own if key not in state]),
        _summarize_names("unexpected", [key for key in state if key not in own]),
        _summarize_names("of another shape", shapes),
    )
    return "; ".join(filter(None, found))


def load_state_dict_strict(
    network: nn.Module, state: Mapping[str, Tensor], source: str, hint: str = ""
) -> None:
    """Strictly: UserError lists what is missing, unexpected or of another shape. hint: which flags would explain it."""
    if wrong := describe_state_dict_mismatch(network, state):
        raise UserError(
            f"the weights of {source} are another network's: {wrong}: {hint or _DEFAULT_HINT}"
        )
    network.load_state_dict(dict(state))


def load_state_dict_partial(network: nn.Module, state: Mapping[str, Tensor], source: str) -> str:
    """What fits by name and shape, and the count of that in words. UserError where nothing does."""
    own = network.state_dict()
    fitting = {
        key: state[key]
        for key, value in own.items()
        if key in state and state[key].shape == value.shape
    }
    if not fitting:
        raise UserError(f"{source}: none of its {len(state)} weights fits: {_DEFAULT_HINT}")
    network.load_state_dict(own | fitting)
    return (
        f"{source}: {len(fitting)} of {len(own)} weights loaded, {len(own) - len(fitting)} start fresh, "
        f"{len(state) - len(fitting)} of the file unused (--allow_partial)"
    )
