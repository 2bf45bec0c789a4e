"""Graphs on disk: constants as safetensors, everything else as JSON in its metadata; no pickle."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from numq import formats, granularity, observers, quantizers, rules, scales
from numq.arithmetic.requantize import Requantization
from numq.arrays import Array
from numq.graph.graph import Constant, Graph, Node
from numq.packing import pack, unpack
from numq.qparams import QParams
from numq.qtensor import QTensor
from numq.rounding import Overflow, Rounding
from numq.storage import load_arrays, save_arrays

VERSION = 1

# What a file may name: values of these classes and nothing else.
_KNOWN: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        formats.IntFormat, granularity.PerTensor, granularity.PerChannel, granularity.PerToken,
        granularity.PerGroup, granularity.PerBlock, observers.MinMaxObserver,
        observers.MovingAverageObserver, observers.PercentileObserver, observers.MSEObserver,
        quantizers.AffineQuantizer, quantizers.SymmetricQuantizer, rules.QuantizeRule,
        rules.ScaleOp, rules.ZeroPointOrder, rules.NonFinite, scales.ScaleFloor,
        scales.ScaleFormat, scales.SymmetricRange, scales.ZeroPointRule, Requantization, Rounding,
        Overflow,
    )
}  # fmt: skip


def save_graph(graph: Graph, path: str | Path) -> int:
    """Write a graph to one safetensors file, sub-byte weights packed; returns its bytes."""
    arrays: dict[str, Array] = {}
    meanings: dict[str, Any] = {}
    for name, constant in graph.constants.items():
        if isinstance(constant, QTensor):
            arrays[name] = pack(constant.codes.ravel(), constant.format)
            meanings[name] = {
                "shape": list(constant.shape),
                **_params(name, constant.qparams, arrays),
            }
        else:
            arrays[name] = constant
    edges = {name: _params(f"edge:{name}", p, arrays) for name, p in graph.qparams.items()}
    text = {
        "inputs": graph.inputs, "outputs": graph.outputs, "parameters": sorted(graph.parameters),
        "nodes": [_node(node) for node in graph], "quantized": meanings, "edges": edges,
        "shapes": graph.shapes,
    }  # fmt: skip
    metadata = {"format": "numq graph", "version": str(VERSION), "graph": json.dumps(text)}
    return save_arrays(path, arrays, metadata)


def load_graph(path: str | Path) -> Graph:
    """Read what `save_graph` wrote.

    Raises:
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
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"path is {path}, which is damaged: {error!r}") from error


def _graph(text: dict[str, Any], arrays: dict[str, Array]) -> Graph:
    constants: dict[str, Constant] = {}
    aside = {f"{name}{end}" for name in text["quantized"] for end in (":scale", ":zero_point")}
    for name, array in arrays.items():
        if name in text["quantized"]:
            constants[name] = _tensor(name, text["quantized"][name], arrays)
        elif name not in aside and not name.startswith("edge:"):
            constants[name] = array
    return Graph(
        tuple(text["inputs"]),
        tuple(text["outputs"]),
        tuple(
            Node(n["op"], n["name"], tuple(n["inputs"]), tuple(n["outputs"]),
                 {k: _decoded(v) for k, v in n["attributes"].items()})
            for n in text["nodes"]
        ),
        constants,
        frozenset(text["parameters"]),
        {name: _qparams(f"edge:{name}", m, arrays) for name, m in text["edges"].items()},
        {name: tuple(shape) for name, shape in text["shapes"].items()},
    )  # fmt: skip


def _node(node: Node) -> dict[str, Any]:
    attributes = {k: _encoded(v) for k, v in node.attributes.items()}
    return {
        "op": node.op, "name": node.name, "inputs": node.inputs, "outputs": node.outputs,
        "attributes": attributes,
    }  # fmt: skip


def _params(name: str, params: QParams, arrays: dict[str, Array]) -> dict[str, Any]:
    """Puts scale and zero point among the arrays; what is left is text."""
    arrays[f"{name}:scale"] = params.scale
    if params.zero_point.any():
        arrays[f"{name}:zero_point"] = pack(params.zero_point.ravel(), params.format)
    kinds = (params.format, params.granularity, params.scale_format, params.signed_scale)
    return {"params": [_encoded(kind) for kind in kinds]}


def _qparams(name: str, text: dict[str, Any], arrays: dict[str, Array]) -> QParams:
    fmt, kind, scale_format, signed = (_decoded(v) for v in text["params"])
    scale, packed = arrays[f"{name}:scale"], arrays.get(f"{name}:zero_point")
    zero_point: Array = np.zeros(scale.shape, np.int32)
    if packed is not None:
        zero_point = unpack(packed, fmt, scale.size).reshape(scale.shape).astype(np.int32)
    return QParams(scale, zero_point, fmt, kind, scale_format, signed)


def _tensor(name: str, text: dict[str, Any], arrays: dict[str, Array]) -> QTensor:
    params, shape = _qparams(name, text, arrays), tuple(int(n) for n in text["shape"])
    if any(n < 0 for n in shape):
        raise ValueError(f"{name} has shape {shape}")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if params.format.packed_nbytes(count) != arrays[name].size:
        raise ValueError(f"{name} has shape {shape}, but {arrays[name].size} bytes")
    return QTensor(unpack(arrays[name], params.format, count).reshape(shape), params)


def _encoded(value: Any) -> Any:
    """A value as JSON: numbers, text and None as they are, ours by class and fields."""
    if isinstance(value, Enum):
        return {"enum": type(value).__name__, "name": value.name}
    if is_dataclass(value) and not isinstance(value, type):
        given = {
            f.name: _encoded(getattr(value, f.name))
            for f in fields(value)
            if f.init and getattr(value, f.name) != f.default
        }
        return {"class": type(value).__name__, "fields": given}
    if isinstance(value, tuple | list):
        return [_encoded(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def _decoded(value: Any) -> Any:
    """The way back; lists become tuples."""
    if isinstance(value, list):
        return tuple(_decoded(v) for v in value)
    if not isinstance(value, dict):
        return value
    kind = _KNOWN[value["enum"] if "enum" in value else value["class"]]
    if issubclass(kind, Enum):
        return kind[value["name"]]
    return kind(**{k: _decoded(v) for k, v in value["fields"].items()})
