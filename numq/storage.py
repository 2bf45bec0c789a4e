"""Arrays on disk as safetensors: plain data, never pickle, never half-written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from numq.arrays import Array


def save_arrays(path: str | Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> int:
    """Write the arrays and their metadata to one safetensors file; returns its bytes.

    The file is written beside its place and then renamed, so a reader never sees half of it.

    Raises:
        FileNotFoundError: the folder is missing.
        OSError: anything else that keeps a file from being written; nothing is left behind.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"path is {target}; the folder {target.parent} is missing")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        partial.write_bytes(save(whole, metadata=dict(metadata)))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


def load_arrays(path: str | Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Read a safetensors file: its arrays and its metadata.

    The header is checked before anything is allocated: its length, that it is JSON, that every
    array's bytes lie within the file, fit its shape and dtype, and overlap no other's.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is truncated, damaged, or no safetensors file; says what is wrong.
    """
    file = Path(path)
    content = file.read_bytes()
    try:
        arrays = {name: np.array(array) for name, array in load(content).items()}
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"path is {file}, which is no sound safetensors file: {error}") from error
    return arrays, dict(header.get("__metadata__") or {})
