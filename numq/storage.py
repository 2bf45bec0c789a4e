"""Arrays on disk as safetensors: plain data, never pickle, never half-written, checked when read.

What is written here carries a digest in its metadata, over the rest of the header and the data, and
the same arrays and metadata give the same bytes. Files of other programs have no digest; what the
format itself can tell of them is checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from numq.arguments import shown
from numq.arrays import Array, check_type
from numq.files import as_path, read_whole, write_whole

SUFFIX = ".safetensors"

# What a file would be taken for by its name, and is not.
_OTHERS = (
    ".bin", ".ckpt", ".csv", ".gguf", ".h5", ".hdf5", ".joblib", ".json", ".keras", ".npy", ".npz",
    ".onnx", ".ort", ".pb", ".pickle", ".pkl", ".pt", ".pt2", ".pth", ".tflite", ".txt", ".zip",
)  # fmt: skip
_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {
        "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16,
        "U32": np.uint32, "I32": np.int32, "U64": np.uint64, "I64": np.int64, "F16": np.float16,
        "F32": np.float32, "F64": np.float64, "BF16": ml_dtypes.bfloat16,
        "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
        "C64": np.complex64,
    }.items()
}  # fmt: skip
_RESERVED = "__metadata__"
# Two entries that only come together: a file that has lost one of them is damaged.
_MARK, _DIGEST = "checked", "sha256"


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str]
) -> int:
    """Write the arrays and their metadata to one safetensors file; returns its bytes.

    The file is whole or not there, see `numq.files`.

    Raises:
        ValueError: a path that ends like a file of another kind, a name that the format reserves.
        TypeError: an array of a dtype that the format has not.
        OSError: a missing folder, no permission, no room; nothing is left behind.
    """
    target = as_path(path)
    if target.suffix.lower() in _OTHERS:
        raise ValueError(
            f"path is {target}; allowed are names of {SUFFIX} files, as that is what is written"
        )
    check_type(arrays, Mapping, "arrays")
    check_type(metadata, Mapping, "metadata")
    _check_metadata(metadata)
    whole = {name: _storable(name, array) for name, array in arrays.items()}
    return write_whole(target, _sealed(save(whole, metadata=None), metadata))


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Read a safetensors file: its arrays, in the order of their names, and its metadata.

    The header is checked before anything is allocated: its length, that it is JSON, that every
    array's bytes lie within the file, fit its shape and dtype, and overlap no other's. Then the
    digest, in files that `save_arrays` has written.

    Raises:
        OSError: no such file, a folder, no permission.
        ValueError: a file that is truncated, damaged, or no safetensors file; says what is wrong.
    """
    content = read_whole(path)
    try:
        arrays = {name: _array(entry) for name, entry in sorted(_entries(content), key=_name)}
        header, data = _parts(content)
    except (
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"path is {path}, which is no sound safetensors file: {error}; allowed are whole files"
        ) from error
    metadata = dict(header.get("__metadata__") or {})
    mark, digest = metadata.pop(_MARK, None), metadata.pop(_DIGEST, None)
    if (mark, digest) != (None, None) and (
        mark != _DIGEST or digest != _digest({**header, "__metadata__": metadata}, data)
    ):
        raise ValueError(
            f"path is {path}, which is no sound safetensors file: its digest is another one; "
            "allowed are files as they were saved"
        )
    return arrays, metadata


def _check_metadata(metadata: Mapping[str, str]) -> None:
    for name, text in metadata.items():
        good = isinstance(name, str) and isinstance(text, str) and _encodable(name + text)
        if not good or name in (_MARK, _DIGEST):
            raise ValueError(
                f"metadata has {shown(name)}: {shown(text)}; allowed is text under any name but "
                f"{_MARK} and {_DIGEST}"
            )


def _storable(name: str, array: Array) -> Array:
    """The array in C order and the machine's byte order."""
    if not isinstance(name, str) or name == _RESERVED or not _encodable(name):
        raise ValueError(f"arrays has the name {shown(name)}; allowed is any text but {_RESERVED}")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"arrays[{shown(name)}] is a masked array; allowed are arrays whose masked entries "
            "are filled"
        )
    kept = np.asarray(array, order="C")
    if kept.dtype.newbyteorder("=") not in _DTYPES.values():
        allowed = ", ".join(dtype.name for dtype in _DTYPES.values())
        raise TypeError(f"arrays[{shown(name)}] has dtype {kept.dtype}; allowed are {allowed}")
    return kept.astype(kept.dtype.newbyteorder("="), copy=False)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _entries(content: bytes) -> list[tuple[str, dict[str, Any]]]:
    return list(deserialize(content))  # type: ignore[no-untyped-call]


def _name(entry: tuple[str, dict[str, Any]]) -> str:
    return entry[0]


def _array(entry: Mapping[str, Any]) -> Array:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"dtype is {entry['dtype']}; allowed are {', '.join(_DTYPES)}")
    return np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"]).copy()


def _parts(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """Header and data: eight bytes with the header's length, the header, the rest."""
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start].decode()), memoryview(content)[start:]


def _sealed(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """The file with metadata and digest, its header in one order."""
    header, data = _parts(content)
    header["__metadata__"] = dict(metadata)
    marks = {_MARK: _DIGEST, _DIGEST: _digest(header, data)}
    text = _text({**header, "__metadata__": {**metadata, **marks}})
    padded = text + b" " * (-len(text) % 8)  # the data starts at a multiple of 8
    return b"".join([len(padded).to_bytes(8, "little"), padded, data])


def _digest(header: Mapping[str, Any], data: memoryview) -> str:
    """SHA-256 of the header without the marks, in one order and spelling, and of the data."""
    found = sha256(_text(header))
    found.update(data)
    return found.hexdigest()


def _text(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
