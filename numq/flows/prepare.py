"""Which edges of a graph become codes, and what calibration has seen on them.

`prepare` marks the edges, `calibrate` runs batches and lets an observer look at each, `qparams`
says what the codes will mean. All of it is values: calibrating again gives another Prepared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from numq.arithmetic.requantize import Requantization
from numq.arrays import Array, check_type
from numq.formats import INT8
from numq.granularity import PerChannel, PerTensor
from numq.graph import Graph, Node, Program, run
from numq.observers import Observed
from numq.ops import sigmoid_qparams, softmax_qparams, tanh_qparams
from numq.qparams import QParams
from numq.quantizers import AffineQuantizer, Quantizer, SymmetricQuantizer

WEIGHTS_INT8 = SymmetricQuantizer(INT8, PerChannel(0))
"""The default for weights: symmetric, one scale for each output channel."""

PER_TENSOR_INT8 = AffineQuantizer(INT8, PerTensor())
"""The default for calibrated activations: affine, one range."""

WEIGHTED = ("Conv", "Gemm")
"""Operators with a weight that is quantized."""

TABLES = ("Sigmoid", "Tanh", "Relu", "LeakyRelu", "Gelu", "Erf", "Abs", "Neg", "Clip", "Exp")
"""Functions of one element, which become tables of all codes."""

INTEGER = (*WEIGHTED, *TABLES, "Add", "Concat", "AveragePool", "GlobalAveragePool")
"""Operators that have integer kernels and a range of their own for the output."""

PASSING = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice")
"""Operators that move codes about without changing what they mean."""

FIXED_RANGES = {"Sigmoid": sigmoid_qparams, "Tanh": tanh_qparams, "Softmax": softmax_qparams}
"""Operators whose results have a range that is known in advance."""


@dataclass(frozen=True)
class Recipe:
    """How a network is quantized statically.

    Attributes:
        weights: per tensor or per channel of axis 0, 8 bits or fewer.
        activations: per tensor, 8 bits or fewer; of the edges that a Conv or Gemm reads, which is
            where few bits save work.
        others: the same, of all other edges: what is added, pooled or looked up, and the outputs.
        how: the arithmetic of requantization. One rounding by default: codes of few bits make
            small accumulators, of which the first of two roundings leaves little (with 2-bit codes
            9 % of a layer's results came out one code higher).
    """

    weights: Quantizer = WEIGHTS_INT8
    activations: Quantizer = PER_TENSOR_INT8
    others: Quantizer = PER_TENSOR_INT8
    how: Requantization = Requantization.FIXED_SINGLE_UP

    def __post_init__(self) -> None:
        """Refuse what an integer network cannot use."""
        check_type(self.weights, Quantizer, "weights")
        check_type(self.how, Requantization, "how")
        for name in ("activations", "others"):
            quantizer = getattr(self, name)
            check_type(quantizer, Quantizer, name)
            if not isinstance(quantizer.granularity, PerTensor) or quantizer.format.bits > 8:
                raise ValueError(
                    f"{name} is {quantizer!r}; needed are PerTensor(), 8 bits or fewer"
                )


@dataclass(frozen=True, eq=False, repr=False)
class Prepared:
    """A float graph with observers on its edges.

    Attributes:
        graph: what runs, in float.
        recipe: how it will be quantized.
        edges: those that will be codes, with what observes each.
        seen: what the observers remember so far.
    """

    graph: Graph
    recipe: Recipe
    edges: Mapping[str, Quantizer]
    seen: Mapping[str, Observed] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The edges and whether they have been calibrated."""
        lines = [f"  {e}: {q!r}{', seen' if e in self.seen else ''}" for e, q in self.edges.items()]
        return "\n".join(["Prepared(", *lines, ")"])


def prepare(graph: Graph, recipe: Recipe = Recipe()) -> Prepared:
    """Mark the edges that will carry codes: whatever an integer kernel reads or makes.

    Args:
        graph: a float graph, fused or not.
        recipe: quantizers and arithmetic.

    Raises:
        ValueError: nothing in the graph has an integer kernel.
    """
    check_type(graph, Graph, "graph")
    integer = [node for node in graph if is_integer(node, graph)]
    if not any(node.op in WEIGHTED for node in integer):
        raise ValueError(f"graph has no {' or '.join(WEIGHTED)} with a constant weight")
    edges: dict[str, Quantizer] = {}
    for node in integer:
        for edge in (*graph.activations(node), node.output):
            multiplied = feeds_product(graph, edge)
            edges[edge] = recipe.activations if multiplied else recipe.others
    return Prepared(graph, recipe, edges)


def is_integer(node: Node, graph: Graph) -> bool:
    """Whether the node can run on codes: a kernel, constants where it wants them, float edges."""
    if node.op in WEIGHTED:
        own = graph.activations(node)
        return own == [node.inputs[0]] and _floating(graph, node.inputs[1])
    if node.op in ("Add", "Concat"):
        return len(graph.activations(node)) == len(node.inputs)
    return node.op in INTEGER or node.op in PASSING


def feeds_product(graph: Graph, edge: str) -> bool:
    """Whether a Conv or Gemm reads the edge, as it is or moved about."""
    return any(
        node.op.endswith(WEIGHTED) or (node.op in PASSING and feeds_product(graph, node.output))
        for node in graph.consumers(edge)
    )


def _floating(graph: Graph, name: str) -> bool:
    constant = graph.constants[name]
    return isinstance(constant, np.ndarray) and constant.dtype.kind == "f"


def calibrate(prepared: Prepared, batches: Iterable[ArrayLike | tuple[ArrayLike, ...]]) -> Prepared:
    """Run the batches in float and let every observer see its edge; states are merged.

    Args:
        prepared: from `prepare`, or from an earlier `calibrate`.
        batches: inputs that stand for what will come; a tuple for a graph with several inputs.

    Raises:
        TypeError: one array in place of batches.
        ValueError: no batches; NaN or infinity on an edge.
    """
    if isinstance(batches, np.ndarray):
        raise TypeError("batches is one array; pass an iterable of batches, such as [array]")
    program, seen = Program(prepared.graph), dict(prepared.seen)

    def visit(edge: str, values: Array) -> None:
        if edge in prepared.edges:
            quantizer = prepared.edges[edge]
            state = quantizer.observe(values)
            seen[edge] = quantizer.merge(seen[edge], state) if edge in seen else state

    count = 0
    for batch in batches:
        given = batch if isinstance(batch, tuple) else (batch,)
        run(program, given, visit)
        count += 1
    if not count:
        raise ValueError("batches is empty; at least one non-empty batch is needed")
    return replace(prepared, seen=seen)


def edge_qparams(prepared: Prepared) -> dict[str, QParams]:
    """What the codes of every edge will mean.

    Sigmoid, Tanh and Softmax have ranges known in advance; an operator that only moves codes about
    gives what it got; everything else is what its observer has seen.

    Raises:
        ValueError: an edge that has not been calibrated.
    """
    graph, made = prepared.graph, {}
    for edge in graph.inputs:
        if edge in prepared.edges:
            made[edge] = _observed(prepared, edge)
    for node in graph:
        edge = node.output
        if edge not in prepared.edges:
            continue
        if node.op in PASSING and node.inputs[0] in made:
            made[edge] = made[node.inputs[0]]
        elif node.op in FIXED_RANGES and prepared.edges[edge].clip == (None, None):
            made[edge] = FIXED_RANGES[node.op](prepared.edges[edge].format)
        else:
            made[edge] = _observed(prepared, edge)
    return made


def _observed(prepared: Prepared, edge: str) -> QParams:
    if edge not in prepared.seen:
        raise ValueError(f"edge {edge} has not been calibrated; call calibrate with some batches")
    return prepared.edges[edge].qparams_of(prepared.seen[edge])
