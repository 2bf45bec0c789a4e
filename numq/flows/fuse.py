"""Rewriting a float graph so that one node is what one integer kernel computes.

- what depends on constants alone becomes a constant; Dropout, which evaluation skips, goes
- a Gemm becomes x·wᵀ + b where that says the same (`gemm`)
- a product with a matrix of weights, and the addition behind it, become Gemm
- BatchNormalization is folded into the Conv or Gemm before it:
      w' = w·γ/√(σ² + ε),   b' = (b − μ)·γ/√(σ² + ε) + β        (Jacob et al. 2018, section 3.2)
  It normalizes axis 1. That is where a Conv has its output channels, but a Gemm only where its
  result is (N, features): behind a product of (N, T, features) it stays what it is.
- Relu becomes the activation of the Conv, Gemm or Add before it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from numq.arguments import flag
from numq.arrays import Array, FloatArray, check_type
from numq.flows.constants import (
    fixed_edges,
    fold_constants,
    learned,
    tables,
    without_dropout,
)
from numq.flows.gemm import plain_products
from numq.graph import Graph, Node
from numq.graph.products import is_plain
from numq.qtensor import QTensor

_WITH_ACTIVATION = ("Conv", "Gemm", "Add", "NormalizedConv", "NormalizedGemm")
_ELEMENTWISE = ("Relu", "LeakyRelu", "Gelu", "Sigmoid", "Tanh", "Clip", "Dropout", "Gemm")


def fuse(graph: Graph, *, keep_tables: bool = False) -> Graph:
    """The same function in fewer nodes; see the top of this file.

    Folding changes results by rounding only. Nothing is folded across an edge that something else
    reads, too.

    Args:
        graph: of float operators.
        keep_tables: leave rows of embeddings to be read at run time even where constants say which,
            since the table is to be quantized.

    Raises:
        TypeError: no Graph, or a flag that is none.
        ValueError: a constant that is quantized already.
    """
    check_float(graph)
    keep = tables(graph) if flag(keep_tables, "keep_tables") else frozenset[str]()
    graph = plain_products(fold_constants(without_dropout(graph), keep))
    graph = fold_constants(products(graph), keep)
    return fuse_relu(fold_batch_norm(graph))


def fuse_for_training(graph: Graph) -> Graph:
    """The same, with everything that learns still there to learn.

    What is made of parameters is made anew at each step, batch normalization is one node with the
    Conv or Gemm before it (`attach_batch_norm`), and Dropout stays.
    """
    check_float(graph)
    keep = learned(graph)
    graph = fold_constants(products(plain_products(fold_constants(graph, keep))), keep)
    return fuse_relu(attach_batch_norm(graph))


def check_float(graph: Graph) -> None:
    """Refuse what is no graph, and a graph that has codes."""
    check_type(graph, Graph, "graph")
    codes = [name for name, c in graph.constants.items() if isinstance(c, QTensor)]
    if codes or graph.qparams:
        what = [*codes, *graph.qparams][0]
        raise ValueError(
            f"graph is quantized already, {what} has codes; allowed is the float graph"
        )


def products(graph: Graph) -> Graph:
    """MatMul with a matrix of weights as Gemm, an Add of a constant vector behind it as its bias.

    Weights are what no input of the graph reaches. Gemm wants them (out, in): a Transpose before
    them is taken away, or one is added.
    """
    fixed = fixed_edges(graph)
    for node in graph.nodes:
        weights = node.inputs[1] if _multiplies(node) else None
        if weights not in fixed or node.inputs[0] in fixed:
            continue
        shape, before = shape_of(graph, weights), graph.producer(weights)
        if shape is None or len(shape) != 2:
            continue
        if before is not None and _is_transpose(before):
            graph = _replaced(graph, {node.name: _gemm(node, before.inputs[0])}, {})
        else:
            graph = _with_transpose(graph, node, shape)
    for node, behind in list(_pairs(graph, ("Gemm",), "Add")):
        other = [name for name in behind.inputs if name != node.output]
        bias = graph.constants.get(other[0]) if len(other) == 1 else None
        shape = shape_of(graph, node.inputs[1])
        outputs = None if shape is None else shape[:1]
        if (
            len(node.inputs) == 2
            and is_plain(node.attributes)
            and isinstance(bias, np.ndarray)
            and bias.shape == outputs
        ):
            merged = replace(node, inputs=(*node.inputs, other[0]), outputs=behind.outputs)
            graph = _replaced(graph, {node.name: merged, behind.name: None}, {})
    return graph.without_unused()


def _multiplies(node: Node) -> bool:
    """Whether the second input is a matrix as (in, out)."""
    a = node.attributes
    return node.op == "MatMul" or (node.op == "Gemm" and a["transB"] == 0)


def _gemm(node: Node, weights: str) -> Node:
    """The product with a matrix as (out, in)."""
    inputs = (node.inputs[0], weights, *node.inputs[2:])
    return node.turned("Gemm", inputs=inputs, transB=1)


def _is_transpose(node: Node) -> bool:
    return node.op == "Transpose" and node.attributes["perm"] in ((1, 0), None)


def _with_transpose(graph: Graph, node: Node, shape: tuple[int, ...]) -> Graph:
    """The product as a Gemm that reads the transposed weights."""
    name = f"{node.inputs[1]}.T"
    turned = Node("Transpose", name, (node.inputs[1],), (name,), {"perm": (1, 0)})
    known = any(name in n.outputs for n in graph)  # two products share the weights
    nodes = [_gemm(node, name) if n.name == node.name else n for n in graph]
    return graph.with_nodes(
        _ordered(nodes if known else [turned, *nodes]),
        shapes={**graph.shapes, name: shape[::-1]},
    )


def shape_of(graph: Graph, name: str) -> tuple[int, ...] | None:
    """Of a constant, or of an edge when the network was recorded; None if nobody knows."""
    constant = graph.constants.get(name)
    return graph.shapes.get(name) if constant is None else constant.shape


def fold_batch_norm(graph: Graph) -> Graph:
    """BatchNormalization into the weights before it."""
    for node, norm in list(_normalized(graph)):
        if any(name not in graph.constants for name in (*node.inputs[1:], *norm.inputs[1:])):
            continue
        node = next(n for n in graph if n.name == node.name)
        gamma, beta, mean, var = (_array(graph, name) for name in norm.inputs[1:])
        bias = _array(graph, node.inputs[2]) if len(node.inputs) > 2 else np.zeros_like(mean)
        norms = (gamma, beta, mean, var)
        w, b = folded(_array(graph, node.inputs[1]), bias, norms, norm.attributes["epsilon"])
        names = f"{node.name}.weight:folded", f"{node.name}.bias:folded"
        merged = replace(node, inputs=(node.inputs[0], *names), outputs=norm.outputs)
        new = dict(zip(names, (w, b), strict=True))
        graph = _replaced(graph, {node.name: merged, norm.name: None}, new)
    return graph.without_unused()


def attach_batch_norm(graph: Graph) -> Graph:
    """BatchNormalization as one node with the Conv or Gemm before it, its statistics still apart.

    The node, NormalizedConv or NormalizedGemm, reads (x, w, b, γ, β, μ, σ²): what training with
    quantized weights needs, which has to fold anew at each step.
    """
    for node, norm in list(_normalized(graph)):
        node = next(n for n in graph if n.name == node.name)
        new = {}
        if len(node.inputs) == 2:
            name = f"{node.name}.bias:zero"
            new[name] = np.zeros_like(_array(graph, norm.inputs[3]))
            node = replace(node, inputs=(*node.inputs, name))
        merged = node.turned(
            f"Normalized{node.op}",
            inputs=(*node.inputs, *norm.inputs[1:]),
            outputs=norm.outputs,
            **norm.attributes,
        )
        graph = _replaced(graph, {node.name: merged, norm.name: None}, new)
    return graph.without_unused()


def _normalized(graph: Graph) -> Iterator[tuple[Node, Node]]:
    """Products and the normalizations behind them, of the axis of the product's outputs."""
    fixed = fixed_edges(graph)
    for node, norm in _pairs(graph, ("Conv", "Gemm"), "BatchNormalization"):
        constant = fixed.issuperset((*node.inputs[1:], *norm.inputs[1:]))
        same_axis = node.op == "Conv" or (
            is_plain(node.attributes) and rank(graph, node.output) == 2
        )
        if constant and same_axis and norm.inputs[3] in graph.constants:
            yield node, norm


def rank(graph: Graph, edge: str) -> int | None:
    """How many axes an edge has: as recorded, or as its maker says; None if nobody knows."""
    shape, node = shape_of(graph, edge), graph.producer(edge)
    if shape is not None:
        return len(shape)
    if node is None:
        return None
    if node.op == "Flatten":
        return 2
    return rank(graph, node.inputs[0]) if node.op in _ELEMENTWISE else None


def folded(
    w: FloatArray, b: FloatArray, norms: tuple[FloatArray, ...], epsilon: float
) -> tuple[FloatArray, FloatArray]:
    """Weights and bias with the normalization (γ, β, μ, σ²) in them, computed in float64.

    The results have the dtype of w.
    """
    gamma, beta, mean, var = (a.astype(np.float64) for a in norms)
    factor = gamma / np.sqrt(var + epsilon)
    scaled = w * factor.reshape(-1, *[1] * (w.ndim - 1))
    return scaled.astype(w.dtype), ((b - mean) * factor + beta).astype(w.dtype)


def fuse_relu(graph: Graph) -> Graph:
    """Relu as the activation of what comes before it."""
    for node, relu in list(_pairs(graph, _WITH_ACTIVATION, "Relu")):
        node = next(n for n in graph if n.name == node.name)
        merged = replace(node.having(activation="Relu"), outputs=relu.outputs)
        graph = _replaced(graph, {node.name: merged, relu.name: None}, {})
    return graph.without_unused()


def _pairs(graph: Graph, first: tuple[str, ...], second: str) -> Iterator[tuple[Node, Node]]:
    """Nodes of the two kinds, one right behind the other and nobody else reading between them."""
    for node in graph:
        readers = graph.consumers(node.outputs[0])
        alone = len(readers) == 1 and node.outputs[0] not in graph.outputs
        plain = node.attributes.get("activation") is None
        if node.op in first and plain and alone and readers[0].op == second:
            yield node, readers[0]


def _array(graph: Graph, name: str) -> FloatArray:
    constant = graph.constants[name]
    if isinstance(constant, QTensor):
        raise ValueError(
            f"{name} is quantized; allowed are floats, as fuse comes before quantization"
        )
    return constant


def _replaced(graph: Graph, nodes: dict[str, Node | None], constants: dict[str, Array]) -> Graph:
    """The graph with nodes exchanged by name, or taken out, and constants added."""
    kept = [nodes.get(node.name, node) for node in graph]
    return graph.with_nodes(
        _ordered([n for n in kept if n is not None]),
        constants={**graph.constants, **constants},
        parameters=graph.parameters | {k for k in constants if not k.endswith(":zero")},
    )


def _ordered(nodes: list[Node]) -> list[Node]:
    """Makers before readers: a node that took over a later edge may stand too early."""
    makers = {edge: node for node in nodes for edge in node.outputs}
    done: dict[str, Node] = {}
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        waiting = [makers[e] for e in node.inputs if e in makers and makers[e].name not in done]
        if node.name in done:
            continue
        if waiting:
            stack.extend([node, *waiting])
        else:
            done[node.name] = node
    return list(done.values())
