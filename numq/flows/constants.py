"""What depends on constants alone: computed once, before anything is planned."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace

import numpy as np

from numq.arrays import Array
from numq.autograd import Tensor, no_grad
from numq.flows.batches import told
from numq.graph import Graph, Node
from numq.graph.operators import applied
from numq.graph.schema import Size

# Where a normalization reads its running mean and variance.
_STATISTICS = {
    "BatchNormalization": slice(3, 5),
    "NormalizedConv": slice(5, 7),
    "NormalizedGemm": slice(5, 7),
}


def fold_constants(graph: Graph, keep: frozenset[str] = frozenset()) -> Graph:
    """The same function, with every node that reads constants alone replaced by its result.

    The result is a constant of the edge's name; it counts as learned if it was made of something
    that is.

    Args:
        graph: of float operators.
        keep: constants that must stay what they are, as they learn or are quantized for themselves:
            a node that reads them stays, and with it all that depends on it.
    """
    made = {n: c for n, c in graph.constants.items() if isinstance(c, np.ndarray) and n not in keep}
    parameters, kept = set(graph.parameters), []
    for node in graph:
        if is_fixed(node, made):
            made |= computed(node, made)
            parameters |= {*node.outputs} if parameters.intersection(node.inputs) else set()
        else:
            kept.append(node)
    constants = {**graph.constants, **made}
    folded = graph.with_nodes(kept, constants=constants, parameters=frozenset(parameters))
    return folded.without_unused()


def is_fixed(node: Node, known: Container[str]) -> bool:
    """Whether a node makes the same of known edges in every run, whatever the inputs' shapes."""
    values = [v for v in node.attributes.values() if isinstance(v, tuple)]
    sized = any(isinstance(entry, Size) for value in values for entry in value)
    return not sized and all(name in known for name in node.inputs)


def fixed_edges(graph: Graph) -> frozenset[str]:
    """The constants, and what nodes make of them alone."""
    known = set(graph.constants)
    for node in graph:
        if is_fixed(node, known):
            known.update(node.outputs)
    return frozenset(known)


def reached(graph: Graph) -> frozenset[str]:
    """The inputs and every edge that depends on the values of one of them."""
    known = set(graph.inputs)
    for node in graph:
        if known.intersection(node.inputs):
            known.update(node.outputs)
    return frozenset(known)


def computed(node: Node, values: Mapping[str, Array]) -> dict[str, Array]:
    """What a float operator makes of arrays, by edge."""
    with no_grad():
        try:
            inputs = [Tensor(values[name]) for name in node.inputs]
            made = applied(node, inputs)
        except (ValueError, TypeError) as error:
            raise told(error, node.label) from error
    arrays = (np.asarray(y.data, order="C") for y in made)
    return dict(zip(node.outputs, arrays, strict=True))


def tables(graph: Graph) -> frozenset[str]:
    """The parameters that a Gather reads rows of: embeddings."""
    read = {node.inputs[0] for node in graph if node.op == "Gather"}
    return frozenset(read & graph.parameters)


def learned(graph: Graph) -> frozenset[str]:
    """The parameters that training can change: real numbers that no normalization counts."""
    floats = {
        name
        for name, constant in graph.constants.items()
        if isinstance(constant, np.ndarray) and constant.dtype.kind == "f"
    }
    statistics = {n for node in graph for n in node.inputs[_STATISTICS.get(node.op, slice(0))]}
    return (graph.parameters & floats) - statistics


def without_dropout(graph: Graph) -> Graph:
    """The graph as it evaluates, where Dropout does nothing."""
    source: dict[str, str] = {}
    kept = []
    for node in graph:
        inputs = tuple(source.get(name, name) for name in node.inputs)
        if node.op == "Dropout":
            source[node.outputs[0]] = inputs[0]
        else:
            kept.append(replace(node, inputs=inputs))
    outputs = tuple(source.get(name, name) for name in graph.outputs)
    return graph.with_nodes(kept, outputs=outputs).without_unused()
