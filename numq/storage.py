"""Arrays on disk as safetensors: plain data, never pickle, never half-written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

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
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        partial.write_bytes(save(whole, metadata=dict(metadata)))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size
