"""Tensors on disk: arrays and quantized tensors by name in one safetensors file; no pickle.

The array of a tensor has its name. Beside it stands what codes mean: `weight:scale`, and
`weight:zero_point` or `weight:offset`; scales that are codes themselves have `weight:scale:scale`.
A tensor that has such a name itself, or `%` in it, is escaped as in a URL. Codes are packed without
gaps; formats, granularities and shapes are JSON in the metadata, which says of every array beside
a tensor that it is there. What a reader does not know, be it a key or an array, is refused: a file
without it would mean something else.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import unquote

import numpy as np

from numq import formats, granularity
from numq.arrays import Array, IntArray, check_type
from numq.formats import FLOAT16, FLOAT32, FLOAT64, FloatFormat, Format
from numq.granularity import Shape
from numq.jsonvalues import Known, check_keys, decoded, encoded, known, lengths, listed, parsed
from numq.packing import pack, unpack
from numq.qparams import Kept, QParams
from numq.qtensor import QTensor
from numq.rounding import Overflow, Rounding
from numq.storage import load_arrays, save_arrays

Tensor: TypeAlias = "Array | QTensor"

VERSION = 1

MEANINGS: Known = known(
    formats.IntFormat, formats.FloatFormat, formats.Specials, formats.TableFormat,
    granularity.PerTensor, granularity.PerChannel, granularity.PerToken, granularity.PerGroup,
    granularity.PerBlock,
)  # fmt: skip
"""What codes may mean in a file: values of these classes and nothing else."""

_BESIDE = (":scale", ":zero_point", ":offset")
_PLAIN = (FLOAT16, FLOAT32, FLOAT64)


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> int:
    """Write arrays and quantized tensors to one safetensors file; returns its bytes.

    A quantized tensor takes its `nbytes` there, beside the header. The same tensors give the same
    bytes.

    Raises:
        TypeError: what is neither, or of a dtype or width that a file cannot hold.
        ValueError: a path that ends like a file of another kind.
        OSError: see `numq.files.write_whole`.
    """
    check_type(tensors, Mapping, "tensors")
    arrays: dict[str, Array] = {}
    for name, tensor in tensors.items():
        check_type(tensor, np.ndarray | QTensor, f"tensors[{name!r}]")
    meanings = put_tensors(tensors, arrays)
    text = json.dumps(meanings, sort_keys=True)
    metadata = {"format": "numq tensors", "version": str(VERSION), "quantized": text}
    return save_arrays(path, arrays, metadata)


def load_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read what `save_tensors` wrote, equal to the bit, in the order of the names.

    Raises:
        OSError: no such file, a folder, no permission.
        ValueError: a file of another kind or version, truncated or damaged; all is checked against
            the bytes that are there before anything is made of it.
    """
    arrays, metadata = load_arrays(path)
    check_kind(path, metadata, "numq tensors", (VERSION,))
    with damage_named(path):
        check_keys(metadata, "the metadata", ("format", "version", "quantized"))
        tensors = take_tensors(parsed(metadata["quantized"]), arrays)
        check_all_taken(arrays)
    return tensors


def check_kind(
    path: str | os.PathLike[str], metadata: Mapping[str, str], kind: str, versions: tuple[int, ...]
) -> None:
    """Raise ValueError for a file that says to be something else."""
    if metadata.get("format") != kind or metadata.get("version") not in [str(v) for v in versions]:
        raise ValueError(
            f"path is {path}, which has format {metadata.get('format')!r}, version "
            f"{metadata.get('version')!r}; allowed is a {kind} of version "
            f"{' or '.join(map(str, versions))}"
        )


@contextmanager
def damage_named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever is wrong with what a file holds becomes a ValueError that names the file."""
    try:
        yield
    except KeyError as error:
        raise ValueError(
            f"path is {path}, which is damaged; allowed are whole files: {error} is missing"
        ) from error
    except RecursionError as error:
        raise ValueError(
            f"path is {path}, which is damaged; allowed are whole files: nested too deep"
        ) from error
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"path is {path}, which is damaged; allowed are whole files: {error}"
        ) from error


def put_tensors(tensors: Mapping[str, Tensor], arrays: dict[str, Array]) -> dict[str, Any]:
    """Puts all of them among the arrays; what the codes mean is left, as text."""
    meanings = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, QTensor):
            meanings[name] = _put(array_name(name), tensor, arrays)
        else:
            arrays[array_name(name)] = tensor
    return meanings


def take_tensors(meanings: Any, arrays: dict[str, Array]) -> dict[str, Tensor]:
    """The way back; takes what belongs to the tensors out of the arrays."""
    check_type(meanings, dict, "quantized")
    tensors: dict[str, Tensor] = {}
    for key in [key for key in arrays if not _is_taken(key)]:
        name = unquote(key)
        if array_name(name) != key:
            raise ValueError(f"an array is {key[:100]!r}; allowed is {array_name(name)[:100]!r}")
        whole = name in meanings
        tensors[name] = _take(key, meanings[name], arrays) if whole else arrays.pop(key)
    if lost := [name for name in meanings if name not in tensors]:
        raise ValueError(
            f"the codes of {lost[0]!r} are missing; allowed are files with all of them"
        )
    return tensors


def check_all_taken(arrays: Mapping[str, Array]) -> None:
    """Raise ValueError for an array that is left: nothing says what it means."""
    if arrays:
        raise ValueError(
            f"arrays has {min(arrays)[:100]!r}, which no tensor has; allowed are those that "
            "the text names"
        )


_USUAL = (FLOAT32, False)  #: scale format and sign of most parameters


def put_params(key: str, params: QParams, arrays: dict[str, Array]) -> dict[str, Any]:
    """Puts scale and what stands beside it among the arrays; what is left is text."""
    kinds = [params.format, params.granularity, params.scale_format, params.signed_scale]
    while len(kinds) > 2 and kinds[-1] == _USUAL[len(kinds) - 3]:
        kinds.pop()  # what is usual is not said
    text: dict[str, Any] = {
        "params": [encoded(kind, f"what {key} means", MEANINGS) for kind in kinds]
    }
    parts = {"scale": params.stored_scale, "offset": params.stored_offset}
    for part, kept in parts.items():
        if kept is not None:
            text |= _put_kept(f"{key}:{part}", part, kept, params.scale_format, arrays)
    if params.zero_point.any():
        text["zero_point"] = True
        arrays[f"{key}:zero_point"] = _packed(params.zero_point, params.format)
    return text


def take_params(
    key: str, text: Any, arrays: dict[str, Array], *, more: tuple[str, ...] = ()
) -> QParams:
    """The way back, from a text that may have `more` keys; takes what it reads out of the arrays.

    Raises:
        KeyError: no scale, or an array that the text says is there.
        ValueError: a key that is unknown, or what codes cannot mean.
    """
    check_keys(text, f"what {key} means", ("params", "scale", *more), ("offset", "zero_point"))
    format, kind, *others = (decoded(v, MEANINGS) for v in listed(text["params"], "params"))
    scale_format, signed = others + list(_USUAL[len(others) :])
    check_type(scale_format, FloatFormat, "scale_format")
    scale = _take_kept(f"{key}:scale", text["scale"], scale_format, arrays)
    offset = None
    if "offset" in text:
        offset = _take_kept(f"{key}:offset", text["offset"], scale_format, arrays)
    zero_point: Array = np.zeros(scale.shape, np.int32)
    zeros = f"{key}:zero_point"
    if "zero_point" in text:
        if text["zero_point"] is not True:
            raise ValueError(f"zero_point of {key} is {text['zero_point']!r}; allowed is true")
        zero_point = _unpacked(arrays.pop(zeros), format, scale.shape, zeros).astype(np.int32)
    return QParams(scale, zero_point, format, kind, scale_format, signed, offset)


def _put(key: str, q: QTensor, arrays: dict[str, Array]) -> dict[str, Any]:
    arrays[key] = _packed(q.codes, q.format)
    return {"shape": list(q.shape), **put_params(key, q.qparams, arrays)}


def _take(key: str, text: Any, arrays: dict[str, Array]) -> QTensor:
    params = take_params(key, text, arrays, more=("shape",))
    shape = lengths(text["shape"], f"shape of {key}")
    return QTensor(_unpacked(arrays.pop(key), params.format, shape, key), params)


def _put_kept(
    key: str, part: str, kept: Kept, format: FloatFormat, arrays: dict[str, Array]
) -> dict[str, Any]:
    """Codes as a tensor of their own, NumPy's floats as they are, others packed with a shape."""
    if isinstance(kept, QTensor):
        return {part: _put(key, kept, arrays)}
    assert isinstance(kept, np.ndarray)
    if format in _PLAIN:
        arrays[key] = kept
        return {part: True}
    arrays[key] = _packed(format.to_codes(kept, Rounding.HALF_EVEN, Overflow.SATURATE), format)
    return {part: list(kept.shape)}


def _take_kept(
    key: str, said: Any, format: FloatFormat, arrays: dict[str, Array]
) -> Array | QTensor:
    if isinstance(said, dict):
        return _take(key, said, arrays)
    if said is True:
        return arrays.pop(key)
    shape = lengths(said, f"shape of {key}")
    return format.decode(_unpacked(arrays.pop(key), format, shape, key))


def array_name(name: str) -> str:
    """The name of a tensor's array: not one that stands for something else."""
    check_type(name, str, "the name of a tensor")
    escaped = name.replace("%", "%25")
    if _is_taken(escaped):
        escaped = escaped.replace(":", "%3A")
    return "%5F_metadata__" if escaped == "__metadata__" else escaped


def _is_taken(key: str) -> bool:
    """Whether an array of that name says what codes mean."""
    return key.startswith("edge:") or key.endswith(_BESIDE)


def _packed(codes: IntArray, format: Format) -> Array:
    """Codes as bytes without gaps; those of 32 and 64 bits as they are."""
    _check_width(format)
    wide = format.bits > 16
    return codes.astype(format.dtype).ravel() if wide else pack(codes.ravel(), format)


def _unpacked(stored: Array, format: Any, shape: Shape, name: str) -> IntArray:
    """The way back; the bytes are counted before anything is made of them."""
    check_type(format, Format, "format")
    _check_width(format)
    count = math.prod(shape)
    if min(shape, default=0) < 0 or format.packed_nbytes(count) != stored.nbytes:
        raise ValueError(
            f"{name} has shape {shape} and {stored.nbytes} bytes; allowed is what fits"
        )
    flat = stored.view(format.dtype) if format.bits > 16 else unpack(stored, format, count)
    return flat.reshape(shape)


def _check_width(format: Format) -> None:
    if format.bits > 16 and format.bits not in (32, 64):
        raise TypeError(f"format has {format.bits} bits; allowed in a file are up to 16, 32 and 64")
