"""Saving and safe loading of state dicts and other checkpoint files."""

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

from util.errors import UserError, is_printable
from util.io.atomic import write_files_atomically

# Raised by torch, its unpickler and zipfile for broken or malicious files.
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
    "give the flags of its training run (--ngf, --n_blocks, --n_scales_spatial, --norm, ...)"
)


def save_files_atomically(folder: Path, files: Mapping[str, object]) -> None:
    """Save a set of files such that all or none are replaced (`write_files_atomically`).

    Args:
        folder: Folder of the files, created if needed.
        files: File name -> content. A string is written as UTF-8 text, anything else by torch.save.

    Raises:
        OSError: A file could not be written; nothing was replaced.
    """
    writers = {name: partial(_write, content) for name, content in files.items()}
    write_files_atomically(folder, writers)


def _write(content: object, file: BinaryIO) -> None:
    if isinstance(content, str):
        file.write(content.encode())
        return
    try:
        torch.save(content, file)
    except RuntimeError as error:
        # When the disk is full, torch's zip writer raises RuntimeError on top of the OSError.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def safe_load_dict(path: Path, flag: str) -> dict[str, Any]:
    """Load a saved dict of tensors, numbers and strings without executing code in it.

    The sizes and checksums that the file states are checked before memory is allocated.

    Args:
        path: File written by torch.save.
        flag: Flag that named the file, for error messages.

    Raises:
        UserError: The file is missing, broken or does not hold a dict.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: give an existing file ({flag})")
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            # Old weights use other pickle protocols than 2, which is harmless.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN_FILE_ERRORS as error:
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise UserError(f"{path} is not a file of weights, or broken: {reason} ({flag})") from None
    if not isinstance(state, dict):
        raise UserError(
            f"{path} holds a {type(state).__name__}, expected a dict of weights ({flag})"
        )
    return state


def safe_load_state_dict(path: Path, flag: str) -> dict[str, Tensor]:
    """Load as `safe_load_dict` does, and check that all entries are dense CPU tensors.

    Raises:
        UserError: Also if a key is not printable text or a value is not such a tensor.
    """
    state = safe_load_dict(path, flag)
    for key, value in state.items():
        is_name = isinstance(key, str) and is_printable(key)
        if not is_name or not _is_dense_cpu_tensor(value):
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
    """Check the zip file that torch.save writes; older formats are not checked.

    torch does not verify checksums. It stores entries uncompressed and without overlap, so a file
    that is compressed or claims more bytes than it has was made to exhaust memory.

    Raises:
        ValueError: The file is damaged or was not written by torch.save.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries claim to be larger than the file")
        if damaged_entry := archive.testzip():
            raise ValueError(f"the checksum of {damaged_entry} does not match: the file is damaged")


def describe_state_dict_mismatch(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Return the differences between a state dict and the network's in words, '' if they match."""
    expected = network.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    mismatched = [
        f"{key} {tuple(value.shape)} in the network, {tuple(state[key].shape)} in the file"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    summaries = (
        _summarize_names("missing", missing),
        _summarize_names("unexpected", unexpected),
        _summarize_names("of another shape", mismatched),
    )
    return "; ".join(summary for summary in summaries if summary)


def _summarize_names(title: str, names: list[str]) -> str:
    """Return the count and the first three names, '' if there are none."""
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} {title}: {', '.join(names[:3])}{more}"


def load_state_dict_strict(
    network: nn.Module, state: Mapping[str, Tensor], source: str, hint: str = ""
) -> None:
    """Load a state dict that matches the network exactly.

    Args:
        network: Network that receives the weights.
        state: State dict.
        source: Name of the file, for error messages.
        hint: What to do about a mismatch; default: give the flags of the training run.

    Raises:
        UserError: Keys are missing or unexpected, or shapes differ.
    """
    if mismatch := describe_state_dict_mismatch(network, state):
        raise UserError(
            f"the weights of {source} do not match the network: {mismatch}: {hint or _DEFAULT_HINT}"
        )
    network.load_state_dict(dict(state))


def load_state_dict_partial(network: nn.Module, state: Mapping[str, Tensor], source: str) -> str:
    """Load the entries that match in name and shape, and return their counts in words.

    Args:
        network: Network that receives the weights; its other weights are unchanged.
        state: State dict.
        source: Name of the file, for messages.

    Raises:
        UserError: No entry matches.
    """
    current = network.state_dict()
    matching = {
        key: state[key]
        for key, value in current.items()
        if key in state and state[key].shape == value.shape
    }
    if not matching:
        raise UserError(f"{source}: none of its {len(state)} weights matches: {_DEFAULT_HINT}")
    network.load_state_dict(current | matching)
    return (
        f"{source}: {len(matching)} of {len(current)} weights loaded, "
        f"{len(current) - len(matching)} keep their initialization, "
        f"{len(state) - len(matching)} of the file unused (--allow_partial)"
    )
