"""Graphs on disk: constants as safetensors, everything else as JSON in its metadata; no pickle.

The array of a constant has its name. Beside it stands what codes mean: `weight:scale` and
`weight:zero_point`, and for the edge `relu:codes` `edge:relu:codes:scale`. A constant that has such
a name itself, or `%` in it, is escaped as in a URL. Codes of up to 16 bits are packed without gaps.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import fields
from enum import Enum
from typing import Any
from urllib.parse import unquote

import numpy as np

from numq import formats, granularity, observers, quantizers, rules, scales
from numq.arrays import Array, IntArray, check_type
from numq.formats import Format
from numq.graph.graph import Constant, Graph, Node, Shape
from numq.graph.inputs import Input, Numbers
from numq.graph.schema import Size
from numq.packing import pack, unpack
from numq.qparams import QParams
from numq.qtensor import QTensor
from numq.requantization import Multiplier, Requantization
from numq.rounding import Overflow, Rounding, ZeroPointOrder
from numq.storage import load_arrays, save_arrays

VERSION = 1

# What a file may name: values of these classes and nothing else.
_KNOWN: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        formats.IntFormat, formats.FloatFormat, formats.Specials, formats.TableFormat,
        granularity.PerTensor, granularity.PerChannel, granularity.PerToken,
        granularity.PerGroup, granularity.PerBlock, observers.MinMaxObserver,
        observers.MovingAverageObserver, observers.PercentileObserver, observers.MSEObserver,
        quantizers.AffineQuantizer, quantizers.SymmetricQuantizer, rules.QuantizeRule,
        rules.ScaleOp, ZeroPointOrder, rules.NonFinite, scales.ScaleFloor,
        scales.ScaleFormat, scales.SymmetricRange, scales.ZeroPointRule, Requantization, Multiplier,
        Rounding, Overflow, Input, Numbers, Size,
    )
}  # fmt: skip

# These a file names as if they were an enum's.
_NAMED = {how.name: how for how in Requantization.NAMED}


def save_graph(graph: Graph, path: str | os.PathLike[str]) -> int:
    """Write a graph to one safetensors file, sub-byte weights packed; returns its bytes.

    The same graph gives the same bytes.

    Raises:
        TypeError: an attribute that a file cannot hold, such as an observer of one's own.
        ValueError: a path that ends like a file of another kind.
        OSError: see `numq.files.write_whole`.
    """
    check_type(graph, Graph, "graph")
    arrays: dict[str, Array] = {}
    meanings: dict[str, Any] = {}
    for name, constant in graph.constants.items():
        key = _key(name)
        if isinstance(constant, QTensor):
            arrays[key] = _packed(constant.codes, constant.format)
            params = _params(key, constant.qparams, arrays)
            meanings[name] = {"shape": list(constant.shape), **params}
        else:
            arrays[key] = constant
    edges = {name: _params(f"edge:{name}", p, arrays) for name, p in graph.qparams.items()}
    text = {
        "inputs": graph.inputs, "outputs": graph.outputs, "parameters": sorted(graph.parameters),
        "nodes": [_node(node) for node in graph], "quantized": meanings, "edges": edges,
        "shapes": graph.shapes, "declared": {
            name: _encoded(declared, f"declared[{name!r}]")
            for name, declared in graph.declared.items()
        },
    }  # fmt: skip
    written = json.dumps(text, sort_keys=True)
    metadata = {"format": "numq graph", "version": str(VERSION), "graph": written}
    return save_arrays(path, arrays, metadata)


def load_graph(path: str | os.PathLike[str]) -> Graph:
    """Read what `save_graph` wrote.

    A file from before there were digests is read as it is, its data unchecked; its inputs are
    declared as a graph made by hand has them.

    Raises:
        OSError: no such file, a folder, no permission.
        ValueError: a file that is no such graph, of another version, truncated or damaged.
    """
    arrays, metadata = load_arrays(path)
    if metadata.get("format") != "numq graph" or metadata.get("version") != str(VERSION):
        raise ValueError(
            f"path is {path}: format {metadata.get('format')!r}, version "
            f"{metadata.get('version')!r}; needed is a numq graph of version {VERSION}"
        )
    try:
        return _graph(json.loads(metadata["graph"]), arrays)
    except KeyError as error:
        raise ValueError(f"path is {path}, which is damaged: {error} is missing") from error
    except RecursionError as error:
        raise ValueError(f"path is {path}, which is damaged: nested too deep") from error
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"path is {path}, which is damaged: {error}") from error


def _graph(text: Any, arrays: dict[str, Array]) -> Graph:
    quantized, edges = _mapping(text, "quantized"), _mapping(text, "edges")
    declared = _mapping(text, "declared") if "declared" in text else {}
    constants: dict[str, Constant] = {}
    for key in (key for key in arrays if not _is_taken(key)):
        name = unquote(key)
        meaning = quantized.get(name)
        constants[name] = _tensor(key, meaning, arrays) if meaning is not None else arrays[key]
    if lost := [name for name in quantized if name not in constants]:
        raise ValueError(f"the codes of {lost[0]!r} are missing")
    return Graph(
        _names(text["inputs"], "inputs"),
        _names(text["outputs"], "outputs"),
        tuple(_read_node(node) for node in _list(text["nodes"], "nodes")),
        constants,
        frozenset(_names(text["parameters"], "parameters")),
        {name: _qparams(f"edge:{name}", meaning, arrays) for name, meaning in edges.items()},
        {
            name: tuple(_int(n, f"shapes[{name!r}]") for n in _list(shape, f"shapes[{name!r}]"))
            for name, shape in _mapping(text, "shapes").items()
        },
        {name: _decoded(given) for name, given in declared.items()},
    )


def _node(node: Node) -> dict[str, Any]:
    attributes = {
        name: _encoded(value, f"attribute {name} of node {node.name} ({node.op})")
        for name, value in node.attributes.items()
    }
    return {
        "op": node.op, "name": node.name, "inputs": node.inputs, "outputs": node.outputs,
        "attributes": attributes,
    }  # fmt: skip


def _read_node(text: Any) -> Node:
    check_type(text, dict, "a node")
    op, name = _names([text["op"], text["name"]], "op and name of a node")
    return Node(
        op, name, _names(text["inputs"], f"inputs of {name}"),
        _names(text["outputs"], f"outputs of {name}"),
        {key: _decoded(value) for key, value in _mapping(text, "attributes").items()},
    )  # fmt: skip


def _key(name: str) -> str:
    """The name of a constant's array: not one that stands for something else."""
    check_type(name, str, "the name of a constant")
    escaped = name.replace("%", "%25")
    if _is_taken(escaped):
        escaped = escaped.replace(":", "%3A")
    return "%5F_metadata__" if escaped == "__metadata__" else escaped


def _is_taken(key: str) -> bool:
    """Whether an array of that name says what codes mean."""
    return key.startswith("edge:") or key.endswith((":scale", ":zero_point"))


def _params(key: str, params: QParams, arrays: dict[str, Array]) -> dict[str, Any]:
    """Puts scale and zero point among the arrays; what is left is text."""
    arrays[f"{key}:scale"] = params.scale
    if params.zero_point.any():
        arrays[f"{key}:zero_point"] = _packed(params.zero_point, params.format)
    kinds = (params.format, params.granularity, params.scale_format, params.signed_scale)
    return {"params": [_encoded(kind, f"what {key} means") for kind in kinds]}


def _qparams(key: str, text: dict[str, Any], arrays: dict[str, Array]) -> QParams:
    fmt, kind, scale_format, signed = (_decoded(v) for v in _list(text["params"], "params"))
    scale, packed = arrays[f"{key}:scale"], arrays.get(f"{key}:zero_point")
    zero_point: Array = np.zeros(scale.shape, np.int32)
    if packed is not None:
        zero_point = _unpacked(packed, fmt, scale.shape, f"{key}:zero_point").astype(np.int32)
    return QParams(scale, zero_point, fmt, kind, scale_format, signed)


def _tensor(key: str, text: dict[str, Any], arrays: dict[str, Array]) -> QTensor:
    params = _qparams(key, text, arrays)
    shape = tuple(_int(n, f"shape of {key}") for n in _list(text["shape"], f"shape of {key}"))
    return QTensor(_unpacked(arrays[key], params.format, shape, key), params)


def _packed(codes: IntArray, fmt: Format) -> Array:
    """Codes as bytes without gaps; those of 32 and 64 bits as they are."""
    return codes.astype(fmt.dtype).ravel() if fmt.bits > 16 else pack(codes.ravel(), fmt)


def _unpacked(stored: Array, fmt: Any, shape: Shape, name: str) -> IntArray:
    """The way back; the bytes are counted before anything is made of them."""
    check_type(fmt, Format, "format")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or fmt.packed_nbytes(count) != stored.nbytes:
        raise ValueError(f"{name} has shape {shape}, but {stored.nbytes} bytes")
    flat = stored.view(fmt.dtype) if fmt.bits > 16 else unpack(stored, fmt, count)
    return flat.reshape(shape)


def _mapping(text: Any, name: str) -> dict[str, Any]:
    check_type(text, dict, "the text of the graph")
    check_type(text[name], dict, name)
    return dict(text[name])


def _list(value: Any, name: str) -> list[Any]:
    check_type(value, list, name)
    return list(value)


def _names(value: Any, name: str) -> tuple[str, ...]:
    for entry in _list(value, name):
        check_type(entry, str, name)
    return tuple(value)


def _int(value: Any, name: str) -> int:
    if type(value) is not int:
        raise TypeError(f"{name} holds {value!r}; allowed are integers")
    return value


def _encoded(value: Any, what: str) -> Any:
    """A value as JSON: numbers, text and None as they are, ours by class and fields.

    Raises:
        TypeError: anything else; names `what` holds it.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (tuple, list):
        return [_encoded(v, what) for v in value]
    kind = type(value)
    if _KNOWN.get(kind.__name__) is not kind:
        raise TypeError(
            f"{what} holds a {kind.__module__}.{kind.__qualname__}; a file holds numbers, text, "
            f"tuples of them, and these of numq: {', '.join(_KNOWN)}"
        )
    if isinstance(value, Enum) or value in _NAMED.values():
        return {"enum": kind.__name__, "name": value.name}
    given = {
        f.name: _encoded(getattr(value, f.name), what)
        for f in fields(value)
        if f.init and getattr(value, f.name) != f.default
    }
    return {"class": kind.__name__, "fields": given}


def _decoded(value: Any) -> Any:
    """The way back; lists become tuples."""
    if isinstance(value, list):
        return tuple(_decoded(v) for v in value)
    if not isinstance(value, dict):
        return value
    name = value["enum"] if "enum" in value else value["class"]
    kind = _KNOWN.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"a file may name {', '.join(_KNOWN)}; it names {str(name)[:100]!r}")
    if issubclass(kind, Enum):
        return kind[value["name"]]
    if "enum" in value:
        return _NAMED[value["name"]]
    return kind(**{k: _decoded(v) for k, v in _mapping(value, "fields").items()})
