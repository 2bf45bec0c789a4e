"""Float nodes as integer ones: for the converted network, and for training to round as it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from numq.autograd import Tensor, record
from numq.flows.plan import MERGING, PASSING, TABLES, OnCodes
from numq.graph import Graph, Node
from numq.graph.quantized import QUANTIZED
from numq.qparams import QParams
from numq.qtensor import QTensor, quantize
from numq.rules import QuantizeRule

RECODING = (*TABLES, *MERGING, "AveragePool", "GlobalAveragePool")
"""Operators whose kernels make codes of codes alone, without a weight."""

_INTEGER_NAMES = {
    "Gemm": "QGemm",
    "Conv": "QLinearConv",
    "Add": "QLinearAdd",
    "Concat": "QLinearConcat",
    "AveragePool": "QLinearAveragePool",
    "GlobalAveragePool": "QLinearGlobalAveragePool",
}


def integer_node(node: Node, treatment: OnCodes, rule: QuantizeRule) -> Node:
    """The node that computes on codes what a float node computes on real numbers.

    Args:
        node: one that the plan has on codes.
        treatment: what the plan says of it.
        rule: how real numbers become codes of its output.
    """
    if node.op in PASSING:
        return node
    if node.op in TABLES:
        return node.turned("Table", function=node.op, rule=rule)
    return node.turned(_INTEGER_NAMES[node.op], requantization=treatment.requantization)


def requantized(
    node: Node, given: Sequence[Tensor], y: Tensor, meanings: Mapping[str, QParams]
) -> Tensor:
    """The fake-quantized result of a node with the values that its integer kernel gives.

    Where scales have a simple ratio, as behind a ReLU or two tanh, many results are ties, and the
    kernel decides them by its own arithmetic: a table by that of float64.

    Args:
        node: the integer node of one of RECODING.
        given: what its inputs stand for.
        y: what was simulated; the gradient goes there as it is.
        meanings: of the codes of inputs and output.
    """
    graph = Graph(tuple(dict.fromkeys(node.inputs)), node.outputs, (node,), {}, qparams=meanings)
    kernel = QUANTIZED[node.op](node, graph)
    assert kernel is not None
    pairs = zip(given, node.inputs, strict=True)
    codes = kernel(*(quantize(x.data, meanings[edge]).codes for x, edge in pairs))
    values = QTensor(codes, meanings[node.output]).dequantize().astype(y.dtype, copy=False)
    return record("FakeQuantize", (y,), values, lambda g: (g,))
