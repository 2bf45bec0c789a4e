"""Rewriting a float graph so that one node is what one integer kernel computes.

- a product with a constant matrix, and the addition behind it, become Gemm
- BatchNormalization is folded into the Conv or Gemm before it:
      w' = w·γ/√(σ² + ε),   b' = (b − μ)·γ/√(σ² + ε) + β        (Jacob et al. 2018, section 3.2)
- Relu becomes the activation of the Conv, Gemm or Add before it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from numq.arrays import Array, FloatArray
from numq.graph import Graph, Node
from numq.qtensor import QTensor

_WITH_ACTIVATION = ("Conv", "Gemm", "Add", "NormalizedConv", "NormalizedGemm")


def fuse(graph: Graph) -> Graph:
    """The same function in fewer nodes; see the top of this file.

    Folding changes results by rounding only. Nothing is folded across an edge that something else
    reads, too.
    """
    return fuse_relu(fold_batch_norm(products(graph)))


def products(graph: Graph) -> Graph:
    """MatMul with a constant matrix as Gemm, an Add of a constant vector behind it as its bias."""
    for node in graph.nodes:
        w = graph.constants.get(node.inputs[1]) if node.op == "MatMul" else None
        if not isinstance(w, np.ndarray) or w.ndim != 2 or node.inputs[0] in graph.constants:
            continue
        name = f"{node.inputs[1]}.T"
        gemm = Node("Gemm", node.name, (node.inputs[0], name), node.outputs, {"transB": 1})
        graph = _replaced(graph, {node.name: gemm}, {name: np.ascontiguousarray(w.T)})
    for node, behind in list(_pairs(graph, ("Gemm",), "Add")):
        other = [name for name in behind.inputs if name != node.output]
        bias = graph.constants.get(other[0]) if len(other) == 1 else None
        outputs = _array(graph, node.inputs[1]).shape[0]
        if len(node.inputs) == 2 and isinstance(bias, np.ndarray) and bias.shape == (outputs,):
            merged = replace(node, inputs=(*node.inputs, other[0]), outputs=behind.outputs)
            graph = _replaced(graph, {node.name: merged, behind.name: None}, {})
    return graph.without_unused()


def fold_batch_norm(graph: Graph) -> Graph:
    """BatchNormalization into the weights before it."""
    for node, norm in list(_pairs(graph, ("Conv", "Gemm"), "BatchNormalization")):
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
    for node, norm in list(_pairs(graph, ("Conv", "Gemm"), "BatchNormalization")):
        node = next(n for n in graph if n.name == node.name)
        new = {}
        if len(node.inputs) == 2:
            name = f"{node.name}.bias:zero"
            new[name] = np.zeros_like(_array(graph, norm.inputs[1]))
            node = replace(node, inputs=(*node.inputs, name))
        merged = node.turned(
            f"Normalized{node.op}",
            inputs=(*node.inputs, *norm.inputs[1:]),
            outputs=norm.outputs,
            epsilon=norm.attributes["epsilon"],
        )
        graph = _replaced(graph, {node.name: merged, norm.name: None}, new)
    return graph.without_unused()


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
        raise ValueError(f"{name} is quantized; fuse comes before quantization")
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
