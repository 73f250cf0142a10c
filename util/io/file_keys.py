"""Renaming of dataclass fields to the keys of published file formats, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def to_file_keys(fields: Mapping[str, Any], file_keys: Mapping[str, str]) -> dict[str, Any]:
    """Rename field names to file keys. file_keys: field name -> key, where they differ."""
    return {file_keys.get(name, name): value for name, value in fields.items()}


def from_file_keys(content: Mapping[str, Any], file_keys: Mapping[str, str]) -> dict[str, Any]:
    """Rename file keys to field names, the inverse of `to_file_keys`."""
    names = {key: name for name, key in file_keys.items()}
    return {names.get(key, key): value for key, value in content.items()}
