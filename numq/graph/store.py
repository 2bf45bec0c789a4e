"""Graphs on disk: constants as `numq.tensorfile` keeps tensors, everything else as JSON beside.

What an edge means is kept like what codes mean: `edge:relu:codes:scale` for the edge `relu:codes`.
"""

from __future__ import annotations

import json
import os
from typing import Any

from numq import observers, quantizers, rules, scales
from numq.arrays import Array, check_type
from numq.formats import FLOAT8_E8M0FNU, FLOAT16, FLOAT32, FLOAT64
from numq.graph.graph import Graph, Node
from numq.graph.inputs import Input, Numbers
from numq.graph.schema import Size
from numq.jsonvalues import (
    Known,
    check_keys,
    decoded,
    encoded,
    known,
    lengths,
    listed,
    mapping,
    names,
    parsed,
)
from numq.requantization import Multiplier, Requantization
from numq.rounding import Overflow, Rounding, ZeroPointOrder
from numq.storage import load_arrays, save_arrays
from numq.tensorfile import (
    MEANINGS,
    array_name,
    check_all_taken,
    check_kind,
    damage_named,
    put_params,
    put_tensors,
    take_params,
    take_tensors,
)

VERSION = 2

# What a file may name: values of these classes and nothing else.
_KNOWN: Known = MEANINGS | known(
    observers.MinMaxObserver, observers.MovingAverageObserver, observers.PercentileObserver,
    observers.MSEObserver, quantizers.AffineQuantizer, quantizers.OffsetQuantizer,
    quantizers.SymmetricQuantizer, rules.QuantizeRule, rules.ScaleOp, ZeroPointOrder,
    rules.NonFinite, scales.ScaleFloor, scales.SymmetricRange, scales.ZeroPointRule,
    Requantization, Multiplier, Rounding, Overflow, Input, Numbers, Size,
)  # fmt: skip


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
    meanings = put_tensors(graph.constants, arrays)
    edges = {name: put_params(f"edge:{name}", p, arrays) for name, p in graph.qparams.items()}
    text = {
        "inputs": graph.inputs, "outputs": graph.outputs, "parameters": sorted(graph.parameters),
        "nodes": [_node(node) for node in graph], "quantized": meanings, "edges": edges,
        "shapes": graph.shapes, "declared": {
            name: encoded(declared, f"declared[{name!r}]", _KNOWN)
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
    check_kind(path, metadata, "numq graph", (1, VERSION))
    with damage_named(path):
        check_keys(metadata, "the metadata", ("format", "version", "graph"))
        text = parsed(metadata["graph"])
        made = _graph(_upgraded(text, arrays) if metadata["version"] == "1" else text, arrays)
        check_all_taken(arrays)
    return made


_SCALE_FORMATS = {
    "FLOAT16": FLOAT16, "FLOAT32": FLOAT32, "FLOAT64": FLOAT64, "POWER_OF_TWO": FLOAT8_E8M0FNU,
}  # fmt: skip


def _upgraded(text: Any, arrays: dict[str, Array]) -> Any:
    """The text of version 1, which declares no inputs and does not say what stands beside codes."""
    made = _with_formats(text)
    meanings = {array_name(name): m for name, m in mapping(made, "quantized").items()}
    meanings |= {f"edge:{name}": m for name, m in mapping(made, "edges").items()}
    for key, meaning in meanings.items():
        check_keys(meaning, f"what {key} means", ("params",), ("shape",))
        meaning["scale"] = True
        if f"{key}:zero_point" in arrays:
            meaning["zero_point"] = True
    return {"declared": {}, **made}


def _with_formats(text: Any) -> Any:
    """Version 1 stored scales in an enum of their own."""
    if isinstance(text, list):
        return [_with_formats(entry) for entry in text]
    if not isinstance(text, dict):
        return text
    if text.get("enum") == "ScaleFormat":
        return encoded(_SCALE_FORMATS[text["name"]], "version 1", _KNOWN)
    made = {name: _with_formats(entry) for name, entry in text.items()}
    if made.get("scale_format") == encoded(FLOAT8_E8M0FNU, "version 1", _KNOWN):
        made["scale_rounding"] = encoded(Rounding.CEIL, "version 1", _KNOWN)
    return made


_PARTS = (
    "inputs", "outputs", "parameters", "nodes", "quantized", "edges", "shapes", "declared",
)  # fmt: skip
_NODE = ("op", "name", "inputs", "outputs", "attributes")


def _graph(text: Any, arrays: dict[str, Array]) -> Graph:
    check_keys(text, "the text of the graph", _PARTS)
    edges, declared = mapping(text, "edges"), mapping(text, "declared")
    shapes = mapping(text, "shapes")
    return Graph(
        names(text["inputs"], "inputs"),
        names(text["outputs"], "outputs"),
        tuple(_read_node(node) for node in listed(text["nodes"], "nodes")),
        take_tensors(text["quantized"], arrays),
        frozenset(names(text["parameters"], "parameters")),
        {name: take_params(f"edge:{name}", meaning, arrays) for name, meaning in edges.items()},
        {name: lengths(shape, f"shapes[{name!r}]") for name, shape in shapes.items()},
        {name: decoded(given, _KNOWN) for name, given in declared.items()},
    )


def _node(node: Node) -> dict[str, Any]:
    attributes = {
        name: encoded(value, f"attribute {name} of node {node.name} ({node.op})", _KNOWN)
        for name, value in node.attributes.items()
    }
    return {
        "op": node.op, "name": node.name, "inputs": node.inputs, "outputs": node.outputs,
        "attributes": attributes,
    }  # fmt: skip


def _read_node(text: Any) -> Node:
    check_keys(text, "a node", _NODE)
    op, name = names([text["op"], text["name"]], "op and name of a node")
    return Node(
        op, name, names(text["inputs"], f"inputs of {name}"),
        names(text["outputs"], f"outputs of {name}"),
        {key: decoded(value, _KNOWN) for key, value in mapping(text, "attributes").items()},
    )  # fmt: skip
