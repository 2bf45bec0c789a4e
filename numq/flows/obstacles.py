"""What keeps a Conv or Gemm from an integer kernel, in words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from numq.flows.constants import fixed_edges
from numq.flows.fuse import shape_of
from numq.flows.gemm import unlike_plain
from numq.graph import Graph, Node


def obstacle(node: Node, graph: Graph, fixed: frozenset[str], real: frozenset[str]) -> str | None:
    """Why no integer kernel has a product; None if one has.

    It is x·wᵀ + b or a convolution, of real numbers that depend on an input, with a weight that
    depends on none, and a number for each channel.

    Args:
        node: one of WEIGHTED.
        graph: the graph it is in.
        fixed: the edges that depend on no input.
        real: the edges that depend on an input and carry real numbers.
    """
    x, w = node.inputs[:2]
    if x in fixed:
        return f"it reads {x}, which depends on no input"
    if x not in real:
        return f"it reads {x}, which is no real numbers"
    for name in node.inputs[1:]:
        if name not in fixed:
            return f"it reads {name}, which is no constant"
    constant = graph.constants.get(w)
    floats = isinstance(constant, np.ndarray) and constant.dtype.kind == "f"
    if constant is not None and not floats:
        return f"its weight {w} is no array of real numbers"
    return _unlike_product(node, graph)


def _unlike_product(node: Node, graph: Graph) -> str | None:
    conv, shape = node.op.endswith("Conv"), shape_of(graph, node.inputs[1])
    if shape is None or len(shape) != (4 if conv else 2):
        said = "no known shape" if shape is None else f"shape {shape}"
        return f"its weight has {said}, allowed are {'4 axes' if conv else '2 axes'}"
    unlike = None if conv else next(unlike_plain(node), None)
    if unlike is not None or len(node.inputs) < 3:
        return unlike
    bias = shape_of(graph, node.inputs[2])
    return None if bias == shape[:1] else f"its bias has shape {bias}, allowed is {shape[:1]}"


def kept_float(nodes: Iterable[Node], graph: Graph, real: frozenset[str]) -> str:
    """Of the first of some products that no kernel has, what is in the way."""
    fixed = fixed_edges(graph)
    for node in nodes:
        if (why := obstacle(node, graph, fixed, real)) is not None:
            return f"; {node.label} stays float: {why}"
    return ""
