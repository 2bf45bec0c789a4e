"""Casts in a recorded graph: where Python mixed numbers of several dtypes, ONNX wants one.

autograd adds integers to floats, counts bools, divides integers into floats. A graph has none of
that (see `integers`), so a recording says with a Cast what became what. Inputs of real numbers
come as float32; those of integers come in any dtype of theirs, and are counted as int64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numq.arrays import Array
from numq.graph.graph import Node
from numq.graph.inputs import Input, Numbers
from numq.graph.integers import COUNTING, REAL_ONLY, DType, operands

_MADE: Mapping[str, str] = {
    "Greater": "bool", "Less": "bool", "ArgMax": "int64", "MatMulInteger": "int32",
    "ConvInteger": "int32",
}  # fmt: skip
_GIVEN: Mapping[Numbers, DType | None] = {
    Numbers.REAL: np.dtype(np.float32),
    Numbers.INTEGER: None,  # any of integers
    Numbers.BOOL: np.dtype(np.bool_),
}
_INT64 = np.dtype(np.int64)


@dataclass(frozen=True, eq=False)
class Typed:
    """A recording with its casts.

    Attributes:
        nodes: the recorded ones and Casts.
        constants: the recorded ones, and some in another dtype.
        casts: for each edge that a Cast makes, the one it reads.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    casts: Mapping[str, str]


def typed(
    nodes: Sequence[Node],
    constants: Mapping[str, Array],
    declared: Mapping[str, Input],
    unique: Callable[[str], str],
) -> Typed:
    """The nodes, with one dtype for all operands of each.

    Args:
        nodes: as recorded.
        constants: by name.
        declared: the graph's inputs.
        unique: a name that is not taken, for one that may be.
    """
    known: dict[str, DType | None] = {name: c.dtype for name, c in constants.items()}
    known |= {name: _GIVEN[given.numbers] for name, given in declared.items()}
    made, arrays, casts = list[Node](), dict(constants), dict[str, str]()
    for node in nodes:
        places = operands(node.op, range(len(node.inputs)))
        reads = [node.inputs[i] for i in places]
        wanted = _wanted(node.op, [known[n] for n in reads], [arrays.get(n) for n in reads])
        inputs = list(node.inputs)
        for i, name in zip(places, reads, strict=True):
            if wanted is None or not _differs(known[name], wanted):
                continue
            inputs[i] = unique(f"{name}:{wanted.name}")
            known[inputs[i]] = wanted
            if name in constants:
                arrays[inputs[i]] = constants[name].astype(wanted)
            else:
                to = {"to": wanted.name}
                made.append(Node("Cast", inputs[i], (name,), (inputs[i],), to))
                casts[inputs[i]] = name
        made.append(replace(node, inputs=tuple(inputs)))
        known |= dict.fromkeys(node.outputs, _made(made[-1], known))
    return Typed(tuple(made), arrays, casts)


def _differs(dtype: DType | None, wanted: DType) -> bool:
    """Floats among themselves are left as they are."""
    return dtype != wanted and not (dtype is not None and dtype.kind == wanted.kind == "f")


def _wanted(
    op: str, dtypes: Sequence[DType | None], constants: Sequence[Array | None]
) -> DType | None:
    """The dtype that autograd computes in; None where all is well."""
    if not dtypes or all(d is not None and d.kind == "f" for d in dtypes):
        return None
    known = [d or _INT64 for d in dtypes]
    whole = [(d, c) for d, c in zip(known, constants, strict=True) if d.kind != "f"]
    floats = [d for d in known if d.kind == "f"]
    if floats:
        narrow = np.result_type(*floats)
        fits = all(c is not None and np.array_equal(c.astype(narrow), c) for _, c in whole)
        return narrow if fits else np.result_type(*known)
    if op == "Div":
        return np.dtype(np.float64)
    if op in REAL_ONLY:
        return np.result_type(*known, np.float32)
    if op in COUNTING:
        return _INT64
    return np.result_type(*known) if len(set(dtypes)) > 1 else None


def _made(node: Node, known: Mapping[str, DType | None]) -> DType | None:
    """The dtype of a node's outputs."""
    if node.op == "Cast":
        return np.dtype(node.attributes["to"])
    if node.op in _MADE:
        return np.dtype(_MADE[node.op])
    dtypes: list[Any] = [known[n] for n in operands(node.op, node.inputs) or node.inputs[:1]]
    return None if None in dtypes else np.result_type(*dtypes)
