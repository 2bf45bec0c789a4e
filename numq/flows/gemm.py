"""Gemm as x·wᵀ + b and nothing else, where that says the same.

    α·A'·B' + β·C  =  A'·(α·B') + β·C

The factors go into the weight and the bias, a transposed A into a Transpose before it, and a bias
that is one number, one for all rows, or both, into one number for each output. A bias that differs
from row to row stays, as does one that an input reaches.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from numq.arrays import Array
from numq.flows.constants import fixed_edges
from numq.graph import Graph, Node

Shape = tuple[int, ...]


def plain_products(graph: Graph) -> Graph:
    """The graph with its Gemms made plain, but for transB. Results change by rounding only.

    What is made of constants is written as nodes, which fold if nothing in them learns.
    """
    fixed = fixed_edges(graph)
    made = _Rewriting(graph)
    for node in graph:
        if node.op == "Gemm" and node.inputs[0] not in fixed and fixed.issuperset(node.inputs[1:]):
            node = made.plain(node)
        made.nodes.append(node)
    changed = graph.with_nodes(
        made.nodes, constants={**graph.constants, **made.constants}, shapes=made.shapes
    )
    return changed.without_unused()


def unlike_plain(node: Node) -> Iterator[str]:
    """The attributes by which a Gemm is not x·wᵀ + b and nothing else, in words."""
    for name, plain in (("alpha", 1), ("beta", 1), ("transA", 0), ("transB", 1)):
        if (value := node.attributes[name]) != plain:
            yield f"{name} is {value}, allowed is {plain}"


class _Rewriting:
    """The nodes made so far, with the constants and shapes that are new."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.nodes = graph, list[Node]()
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, Shape] = dict(graph.shapes)

    def plain(self, node: Node) -> Node:
        """The Gemm made plain; what it needs stands before it."""
        a, (x, w, *bias) = node.attributes, node.inputs
        shape = self._shape(w)
        if a["transA"]:
            turned = self._shape(x)
            swapped = None if turned is None else turned[::-1]
            name = f"{node.name}.input:plain"
            x = self._add(Node("Transpose", name, (x,), (name,), {"perm": (1, 0)}), swapped)
        if a["alpha"] != 1:
            w = self._scaled(w, a["alpha"], f"{node.name}.weight:plain", shape)
        if not a["beta"]:
            bias = []
        outputs = None if shape is None else shape[0 if a["transB"] else 1]
        bias = [self._bias(b, a["beta"], f"{node.name}.bias:plain", outputs) for b in bias]
        return node.turned("Gemm", inputs=(x, w, *bias), alpha=1.0, beta=1.0, transA=0)

    def _bias(self, b: str, beta: float, name: str, outputs: int | None) -> str:
        """`beta·b`, (outputs,) if it is the same for all rows."""
        shape = self._shape(b)
        if beta != 1:
            b = self._scaled(b, beta, f"{name}:scaled", shape)
        if shape is None or outputs is None or shape[:-1] not in ((), (1,)):
            return b
        if len(shape) == 2:
            row = shape[1:]
            b = self._add(
                Node("Reshape", f"{name}:row", (b,), (f"{name}:row",), {"shape": row}), row
            )
        if shape[-1:] not in ((), (1,)) or outputs == 1 == len(shape):
            return b
        all_outputs = {"shape": (outputs,)}
        return self._add(Node("Expand", name, (b,), (name,), all_outputs), (outputs,))

    def _scaled(self, edge: str, factor: float, name: str, shape: Shape | None) -> str:
        constant = self.graph.constants.get(edge)
        dtype = constant.dtype if isinstance(constant, np.ndarray) else np.float32
        self.constants[f"{name}:factor"] = np.asarray(factor, dtype)
        return self._add(Node("Mul", name, (edge, f"{name}:factor"), (name,)), shape)

    def _add(self, node: Node, shape: Shape | None) -> str:
        self.nodes.append(node)
        if shape is not None:
            self.shapes[node.output] = shape
        return node.output

    def _shape(self, name: str) -> Shape | None:
        constant = self.graph.constants.get(name)
        return self.shapes.get(name) if constant is None else constant.shape
