"""Quantized weights in a graph: which constants become codes, and under which name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from numq.graph import Constant, Graph, Node
from numq.qtensor import QTensor
from numq.quantizers import Quantizer


def weight_input(node: Node) -> int:
    """Which input of a node is its weight: the table of a Gather, the second of all others."""
    return 0 if node.op == "Gather" else 1


def quantized_weights(graph: Graph, quantizers: Mapping[str, Quantizer]) -> dict[str, QTensor]:
    """The codes of the weight of each node named; a weight that nodes share is quantized once."""
    made: dict[tuple[str, Quantizer], QTensor] = {}
    codes: dict[str, QTensor] = {}
    for node in graph:
        if node.name not in quantizers:
            continue
        name, quantizer = node.inputs[weight_input(node)], quantizers[node.name]
        if (name, quantizer) not in made:
            w = graph.constants[name]
            assert isinstance(w, np.ndarray)
            try:
                made[name, quantizer] = quantizer(w)
            except ValueError as error:
                raise ValueError(f"weight of node {node.name} ({node.op}): {error}") from error
        codes[node.name] = made[name, quantizer]
    return codes


def with_weights(graph: Graph, codes: Mapping[str, QTensor]) -> Graph:
    """The graph whose nodes read the codes given for them in place of their float weights.

    The codes take the place of the constant where all who read it read the same codes; else they
    stand beside it, named after their node.
    """
    readers: dict[str, list[QTensor | None]] = {name: [None] for name in graph.outputs}
    for node in graph:
        for i, name in enumerate(node.inputs):
            weight = codes.get(node.name) if i == weight_input(node) else None
            readers.setdefault(name, []).append(weight)
    constants: dict[str, Constant] = dict(graph.constants)
    nodes = []
    for node in graph:
        weight = codes.get(node.name)
        if weight is not None:
            place = weight_input(node)
            alone = all(other is weight for other in readers[node.inputs[place]])
            name = node.inputs[place] if alone else f"{node.name}.weight:codes"
            constants[name] = weight
            inputs = (*node.inputs[:place], name, *node.inputs[place + 1 :])
            node = replace(node, inputs=inputs)
        nodes.append(node)
    return graph.with_nodes(nodes, constants=constants).without_unused()
