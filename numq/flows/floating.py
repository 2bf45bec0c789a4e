"""The flows whose edges stay float: weight-only and dynamic quantization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from numq.flows.fuse import fuse
from numq.flows.network import Network
from numq.flows.obstacles import kept_float
from numq.flows.plan import (
    WEIGHTED,
    check_channels,
    check_targets,
    real_edges,
    with_kernels,
)
from numq.flows.recipe import (
    WEIGHTS_INT8,
    Override,
    check_overrides,
    check_quantizer,
    chosen,
)
from numq.flows.record import as_graph
from numq.flows.weights import quantized_weights, with_weights
from numq.formats import small_integers
from numq.granularity import PerTensor, PerToken
from numq.graph import Graph, Node
from numq.integer import PER_TOKEN_INT8
from numq.nn import Module
from numq.quantizers import Quantizer, check_beside


@dataclass(frozen=True)
class _Choices:
    """What an override may change."""

    weights: Quantizer
    activations: Quantizer | None = None


def weight_only(
    model: Module | Graph,
    *examples: ArrayLike,
    weights: Quantizer = WEIGHTS_INT8,
    overrides: tuple[Override, ...] = (),
) -> Network:
    """Quantized weights of any format, everything else float: smaller.

    Integer weights of 8 bits or fewer are faster too for a few rows, where memory is what a product
    waits for. Weights of other formats, or with an offset, are dequantized at each call.

    Args:
        model: a graph, or a module that has been called before.
        examples: an input for each of the model's, if it has not.
        weights: any Quantizer, any granularity; of Conv, Gemm and embeddings.
        overrides: other weights for some of them, or float ones.

    Raises:
        ValueError: nothing to quantize; an override that meets nothing, or chooses something else
            than weights.
    """
    base = _Choices(check_quantizer(weights, "weights"))
    _check(overrides, ("weights",), "weight_only")
    graph = fuse(as_graph(model, *examples), keep_tables=True)
    choices = _choices(graph, base, overrides)
    return Network(_with_weights(graph, choices))


def dynamic(
    model: Module | Graph,
    *examples: ArrayLike,
    weights: Quantizer = WEIGHTS_INT8,
    activations: Quantizer = PER_TOKEN_INT8,
    overrides: tuple[Override, ...] = (),
) -> Network:
    """Integer products; the range of the activations is taken from each batch as it comes.

    Gemm (and with it every gate of an LSTM) multiplies integers, the state between stays float. A
    convolution mixes rows, so that it takes one range for its whole input; everything else that
    `activations` says counts for it, too.

    Args:
        model: a graph, or a module that has been called before.
        examples: an input for each of the model's, if it has not.
        weights: per tensor or per channel of axis 0, 8 bits or fewer.
        activations: per token or per tensor, 8 bits or fewer.
        overrides: other weights or activations for some nodes, or float ones.

    Raises:
        ValueError: nothing to quantize; quantizers that no integer product can use; an override
            that meets nothing, or chooses something else than weights and activations.
    """
    base = _Choices(check_quantizer(weights, "weights"), activations)
    _check_activations(activations, "activations")
    _check(overrides, ("weights", "activations"), "dynamic")
    graph = fuse(as_graph(model, *examples), keep_tables=True)
    choices = _choices(graph, base, overrides)
    for node in graph:
        if node.op in WEIGHTED and node.name in choices:
            check_channels(node, graph, choices[node.name].weights)
    graph = _with_weights(graph, choices)
    nodes = [_dynamic(n, choices[n.name]) if n.name in choices else n for n in graph]
    return Network(graph.with_nodes(nodes))


def _check_activations(quantizer: object, name: str) -> None:
    known = check_quantizer(quantizer, name)
    check_beside(known, name)
    if not isinstance(known.granularity, PerToken | PerTensor) or not small_integers(known.format):
        raise ValueError(
            f"{name} is {known!r}; allowed for an integer product are PerToken() or PerTensor() "
            "and integers of 8 bits or fewer"
        )


def _check(overrides: object, allowed: tuple[str, ...], flow: str) -> None:
    for override in check_overrides(overrides):
        override.check(check_quantizer, _check_activations)
        wrong = [name for name in override.chosen if name not in allowed]
        if wrong:
            raise ValueError(
                f"override of {override.target} has {wrong[0]}; allowed in {flow} are "
                f"{', '.join(allowed)} and stay_float"
            )


def _choices(graph: Graph, base: _Choices, overrides: tuple[Override, ...]) -> dict[str, _Choices]:
    """For each node whose weight is quantized, by what."""
    weighted = [n for n in with_kernels(graph) if n.op in WEIGHTED] + _embeddings(graph)
    constant = [n for n in weighted if n.op == "Gather" or n.inputs[1] in graph.constants]
    check_targets(graph, overrides, constant, _useful)
    choices = {n.name: c for n in constant if (c := chosen(base, overrides, n)) is not None}
    if not choices:
        products = (n for n in graph if n.op in WEIGHTED)
        why = kept_float(products, graph, real_edges(graph))
        if constant:
            why = "; overrides make all of them stay float"
        raise ValueError(
            f"graph has no Conv, Gemm or Gather with a constant weight; allowed is one "
            f"to quantize and more{why}"
        )
    return choices


def _embeddings(graph: Graph) -> list[Node]:
    """The nodes that read rows of a table of real numbers that was learned."""
    return [
        node
        for node in graph
        if node.op == "Gather"
        and node.inputs[0] in graph.parameters
        and isinstance(table := graph.constants[node.inputs[0]], np.ndarray)
        and table.dtype.kind == "f"
    ]


def _useful(override: Override, nodes: Sequence[Node]) -> None:
    allowed = {"weights": (*WEIGHTED, "Gather"), "activations": WEIGHTED}
    for name in override.chosen:
        if not any(node.op in allowed[name] for node in nodes):
            raise ValueError(
                f"override of {override.target} has {name} and meets none; allowed are Conv, "
                f"Gemm{(' and Gather' if name == 'weights' else '')}"
            )


def _dynamic(node: Node, choices: _Choices) -> Node:
    quantizer = choices.activations
    assert quantizer is not None
    if node.op == "Gemm":
        return node.turned("DynamicQuantizeMatMul", quantizer=quantizer)
    if node.op == "Conv":
        whole = replace(quantizer, granularity=PerTensor())
        return node.turned("DynamicQuantizeConv", quantizer=whole)
    return node


def _with_weights(graph: Graph, choices: Mapping[str, _Choices]) -> Graph:
    codes = quantized_weights(graph, {name: c.weights for name, c in choices.items()})
    return with_weights(graph, codes)
