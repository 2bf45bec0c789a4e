"""What makes a graph one that can run: refused here, when it is made, rather than when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from numq.arguments import shown
from numq.arrays import check_type
from numq.granularity import PerTensor
from numq.graph.inputs import Input
from numq.graph.schema import Carries, Size
from numq.qparams import QParams
from numq.qtensor import QTensor

if TYPE_CHECKING:
    from numq.graph.graph import Graph, Node


def check_names(names: Any, what: str) -> tuple[str, ...]:
    """The names as a tuple; TypeError or ValueError for what is no name."""
    if not isinstance(names, tuple | list):
        raise TypeError(f"{what} is {shown(names)}; allowed is a tuple of names")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what} has {shown(name)}; allowed are names")
        if not name:
            raise ValueError(f"{what} has an empty name; allowed is any other")
    return tuple(names)


def check_graph(graph: Graph) -> None:
    """Everything that a graph promises; see `Graph`.

    Raises:
        TypeError: parts of other types.
        ValueError: names that are unknown, used twice or read too early, constants and meanings of
            codes that an operator needs and that are not there.
    """
    _check_doors(graph)
    _check_constants(graph)
    _check_order(graph)
    _check_notes(graph)
    for node in graph.nodes:
        _check_roles(node, graph)
        _check_weight(node, graph)
        _check_sizes(node, graph)


def _check_doors(graph: Graph) -> None:
    for name in graph.inputs:
        if graph.inputs.count(name) > 1:
            raise ValueError(f"inputs has {name} a second time; allowed is each once")
        if name in graph.constants:
            raise ValueError(f"inputs has {name}, which is a constant too; allowed is one of them")


def _check_constants(graph: Graph) -> None:
    check_names(list(graph.constants), "constants")
    for name, constant in graph.constants.items():
        plain = isinstance(constant, np.ndarray) and not isinstance(constant, np.ma.MaskedArray)
        if not plain and not isinstance(constant, QTensor):
            raise TypeError(
                f"constant {name} is a {type(constant).__name__}; allowed are arrays and QTensors"
            )
        if isinstance(constant, np.ndarray) and constant.dtype.kind not in "fiub":
            raise TypeError(
                f"constant {name} has dtype {constant.dtype}; allowed are floats, integers, bools"
            )
    if lost := sorted(set(graph.parameters) - set(graph.constants)):
        raise ValueError(
            f"parameters has {lost[0]}, which is no constant; allowed are names of constants"
        )


def _check_order(graph: Graph) -> None:
    """Every name is made once, and before it is read."""
    known = {*graph.inputs, *graph.constants}
    later = {edge: node for node in graph.nodes for edge in node.outputs}
    names: set[str] = set()
    for node in graph.nodes:
        if node.name in names:
            raise ValueError(f"nodes has {node.name} a second time; allowed is each once")
        names.add(node.name)
        for edge in node.inputs:
            if edge not in known:
                raise ValueError(
                    f"{node.label} has the input {edge}, {_why_unknown(edge, node, later)}; "
                    "allowed are inputs, constants and what nodes before it make"
                )
        for edge in node.outputs:
            if edge in known:
                raise ValueError(
                    f"{node.label} has the output {edge}, which is made a second time; allowed is "
                    "each once"
                )
            known.add(edge)
    if lost := [name for name in graph.outputs if name not in known]:
        raise ValueError(
            f"outputs has {lost[0]}, which nothing makes; allowed are edges of the graph"
        )


def _why_unknown(edge: str, node: Node, later: Mapping[str, Node]) -> str:
    if edge not in later:
        return "which is not among inputs or constants, and no node makes it"
    if later[edge] is node:
        return "which it makes itself"
    return f"made only later, by {later[edge].label}; nodes stand in the order in which they run"


def _check_notes(graph: Graph) -> None:
    """qparams, shapes and declared are about edges that are there."""
    edges = {*graph.inputs, *(edge for node in graph.nodes for edge in node.outputs)}
    for what, notes in (("qparams", graph.qparams), ("shapes", graph.shapes)):
        if lost := [name for name in notes if name not in edges]:
            raise ValueError(
                f"{what} has {lost[0]}, which is no edge of the graph; allowed are its edges"
            )
    if lost := [name for name in graph.declared if name not in graph.inputs]:
        raise ValueError(
            f"declared has {lost[0]}, which is no input of the graph; allowed are its inputs"
        )
    for name, params in graph.qparams.items():
        check_type(params, QParams, f"qparams[{name!r}]")
    for name, declared in graph.declared.items():
        check_type(declared, Input, f"declared[{name!r}]")
    for name, shape in graph.shapes.items():
        lengths = shape if isinstance(shape, tuple) else (None,)
        if not all(isinstance(n, int | np.integer) and n >= 0 for n in lengths):
            raise ValueError(f"shapes[{name!r}] is {shown(shape)}; allowed is a tuple of lengths")


def _check_roles(node: Node, graph: Graph) -> None:
    """Codes where the operator reads codes, reals where it reads reals, weights where weights."""
    roles = [(name, node.schema.role(i)) for i, name in enumerate(node.inputs)]
    for name, role in roles:
        constant = graph.constants.get(name)
        stored = role is Carries.STORED and not isinstance(constant, QTensor)
        if (role is Carries.CODES or stored) and name not in graph.qparams:
            raise ValueError(
                f"{node.label} has the input {name}, which it reads as codes; allowed are edges "
                "that qparams has an entry for"
            )
        if role is Carries.REAL and name in graph.qparams:
            raise ValueError(
                f"{node.label} has the input {name}, which it reads as real numbers, but qparams "
                "says that it carries codes; allowed are edges without an entry in qparams"
            )
        if role is Carries.WEIGHT and not isinstance(constant, QTensor):
            raise ValueError(
                f"{node.label} has the input {name}; allowed is {role.value} of that name"
            )
        if role is Carries.BIAS and not _floats(constant):
            raise ValueError(
                f"{node.label} has the input {name}; allowed is {role.value} of that name"
            )
    for i, name in enumerate(node.outputs):
        role = node.schema.makes(i)
        if role is Carries.CODES and name not in graph.qparams:
            raise ValueError(
                f"{node.label} has the output {name}, which it makes as codes; allowed are edges "
                "that qparams has an entry for"
            )
        if role is Carries.REAL and name in graph.qparams:
            raise ValueError(
                f"{node.label} has the output {name}, which it makes as real numbers; allowed are "
                "edges without an entry in qparams"
            )
    if Carries.EITHER in node.schema.outputs:
        _check_moved(node, graph)


def _floats(constant: object) -> bool:
    return isinstance(constant, np.ndarray) and constant.dtype.kind == "f"


def _check_moved(node: Node, graph: Graph) -> None:
    """What moves codes about gives codes of the same meaning, or moves no codes at all."""
    for edge in node.outputs:
        _check_codes(node, edge, graph)


def _check_codes(node: Node, edge: str, graph: Graph) -> None:
    after = graph.qparams.get(edge)
    for i, name in enumerate(node.inputs):
        if node.schema.role(i) is not Carries.EITHER:
            continue
        constant = graph.constants.get(name)
        before = graph.qparams.get(name)
        if before is None and after is not None and isinstance(constant, QTensor):
            before = constant.qparams
        if before != after:
            raise ValueError(
                f"{node.label} moves {name} to {edge}, and qparams has {before} for the "
                f"one, {after} for the other; allowed is the same for both"
            )
    if after is not None and (not isinstance(after.granularity, PerTensor) or after.scale < 0):
        raise ValueError(
            f"{node.label} has codes to move whose parameters are {after}; allowed is one scale, "
            "not negative"
        )


def _check_weight(node: Node, graph: Graph) -> None:
    """A constant filter has four axes, and the kernel's shape is that of the filter."""
    w = graph.constants.get(node.inputs[1]) if node.op.endswith("Conv") else None
    if w is None:
        return
    if len(w.shape) != 4:
        raise ValueError(
            f"{node.label} has the weight {node.inputs[1]} of shape {w.shape}; allowed is (O, "
            "C/group, h, w)"
        )
    kernel = node.attributes["kernel_shape"]
    if kernel not in (None, w.shape[2:]):
        raise ValueError(
            f"{node.label}: kernel_shape is {kernel}; allowed is that of the filter, {w.shape[2:]}"
        )


def _check_sizes(node: Node, graph: Graph) -> None:
    """A Size names an axis of an input."""
    values = [v for v in node.attributes.values() if isinstance(v, tuple)]
    for size in (n for value in values for n in value if isinstance(n, Size)):
        declared = graph.declared.get(size.input)
        if declared is None or declared.shape is None or size.axis >= len(declared.shape):
            raise ValueError(
                f"{node.label} has {size} as a length; allowed are axes of declared inputs"
            )
