"""The flows: float model in, quantized network out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from numq.arithmetic.requantize import Requantization
from numq.arrays import Array, as_float32, check_type
from numq.flows.fuse import fuse
from numq.flows.network import Network
from numq.flows.prepare import (
    PASSING,
    PER_TENSOR_INT8,
    TABLES,
    WEIGHTED,
    WEIGHTS_INT8,
    Prepared,
    Recipe,
    calibrate,
    edge_qparams,
    is_integer,
    prepare,
)
from numq.flows.qat_network import QATNetwork
from numq.flows.qat_weights import Estimator
from numq.formats import INT8
from numq.granularity import PerTensor
from numq.graph import Constant, Graph, Node, trace
from numq.nn import Module
from numq.ops import PER_TOKEN_INT8, check_dynamic
from numq.qparams import QParams
from numq.qtensor import QTensor
from numq.quantizers import AffineQuantizer, Quantizer

_BATCH_INT8 = AffineQuantizer(INT8, PerTensor())  # a convolution mixes rows: one range for all


def as_graph(model: Module | Graph, *examples: ArrayLike) -> Graph:
    """The model's graph; a module is recorded with the examples, or as it was called last."""
    if isinstance(model, Graph):
        return model
    check_type(model, Module, "model")
    return trace(model, *examples)


def weight_only(
    model: Module | Graph, *examples: ArrayLike, weights: Quantizer = WEIGHTS_INT8
) -> Network:
    """Integer weights, everything else float: smaller, not faster.

    Args:
        model: a graph, or a module that has been called before.
        examples: an input for each of the model's, if it has not.
        weights: any Quantizer, any granularity; of Conv, Gemm and embeddings.
    """
    check_type(weights, Quantizer, "weights")
    graph = fuse(as_graph(model, *examples))
    return Network(replace(graph, constants=_with_quantized(graph, weights)).without_unused())


def dynamic(
    model: Module | Graph,
    *examples: ArrayLike,
    weights: Quantizer = WEIGHTS_INT8,
    activations: Quantizer = PER_TOKEN_INT8,
) -> Network:
    """Integer products; the range of the activations is taken from each batch as it comes.

    Gemm (and with it every gate of an LSTM) multiplies integers, the state between stays float. A
    convolution takes one range for its whole input.

    Args:
        model: a graph, or a module that has been called before.
        examples: an input for each of the model's, if it has not.
        weights: per tensor or per channel of axis 0, 8 bits or fewer.
        activations: per token or per tensor, 8 bits or fewer; of Gemm.
    """
    check_type(weights, Quantizer, "weights")
    check_dynamic(activations)
    graph = fuse(as_graph(model, *examples))
    nodes = tuple(_dynamic(node, graph, activations) for node in graph)
    constants = _with_quantized(graph, weights)
    return Network(replace(graph, nodes=nodes, constants=constants).without_unused())


def _dynamic(node: Node, graph: Graph, activations: Quantizer) -> Node:
    if node.op not in WEIGHTED or not is_integer(node, graph):
        return node
    if node.op == "Gemm":
        return node.turned("DynamicQuantizeMatMul", quantizer=activations)
    batch = replace(_BATCH_INT8, format=activations.format)
    return node.turned("DynamicQuantizeConv", quantizer=batch)


def _with_quantized(graph: Graph, weights: Quantizer) -> dict[str, Constant]:
    """The constants, with the weights among them quantized; embeddings too."""
    names = {n.inputs[1] for n in graph if n.op in WEIGHTED and is_integer(n, graph)}
    names |= {n.inputs[0] for n in graph if n.op == "Gather" and n.inputs[0] in graph.parameters}
    made = dict(graph.constants)
    for name in names:
        w = made[name]
        assert isinstance(w, np.ndarray)
        made[name] = weights(w)
    return made


def static(
    model: Module | Graph,
    calibration: Iterable[ArrayLike | tuple[ArrayLike, ...]],
    *,
    weights: Quantizer = WEIGHTS_INT8,
    activations: Quantizer = PER_TENSOR_INT8,
    others: Quantizer = PER_TENSOR_INT8,
    how: Requantization = Requantization.FIXED_SINGLE_UP,
) -> Network:
    """Integers from the quantized input to the output, ranges calibrated beforehand.

    What has no integer kernel stays a float island between two doors; `Network.islands` lists them.

    Args:
        model: a module or a graph.
        calibration: batches of real numbers that stand for what will come.
        weights: per tensor or per channel of axis 0, 8 bits or fewer.
        activations: per tensor; of what a Conv or Gemm reads.
        others: per tensor; of all other edges, the outputs among them.
        how: the arithmetic of requantization.

    Raises:
        ValueError: no calibration data, or a weight that no integer kernel can use.
    """
    recipe = Recipe(weights, activations, others, how)
    if isinstance(calibration, np.ndarray):
        raise TypeError("calibration is one array; pass an iterable of batches, such as [array]")
    batches = list(calibration)
    if not batches:
        raise ValueError("calibration is empty; at least one non-empty batch is needed")
    first = batches[0] if isinstance(batches[0], tuple) else (batches[0],)
    graph = fuse(as_graph(model, *(_example(x) for x in first)))
    return convert(calibrate(prepare(graph, recipe), batches))


def _example(x: ArrayLike) -> Array:
    """What the network is recorded with: float32, or integers, which may be indices."""
    array = np.asarray(x)
    return array if array.dtype.kind in "iu" else as_float32(array, "calibration")


def convert(prepared: Prepared | QATNetwork) -> Network:
    """A calibrated graph, or a network trained with fake-quantization, as an integer network.

    Raises:
        ValueError: an edge that was not calibrated, weights that no integer kernel can use, or
            binary activations, which have no integer kernel.
    """
    if isinstance(prepared, QATNetwork):
        return _convert_trained(prepared)
    weights = _quantized_weights(prepared)
    return integer_network(prepared.graph, edge_qparams(prepared), weights, prepared.recipe.how)


def _convert_trained(network: QATNetwork) -> Network:
    if network.recipe.activation_estimator is Estimator.BINARY:
        raise ValueError("activation_estimator is BINARY; codes ±1 have no integer kernel here")
    graph, weights = network.folded_graph()
    edges = {edge: network.edge_qparams(edge) for edge in network.edges}
    for node in graph:
        if node.op in PASSING and node.inputs[0] in edges:
            edges[node.output] = edges[node.inputs[0]]
    return integer_network(graph, edges, weights, network.recipe.how)


def _quantized_weights(prepared: Prepared) -> dict[str, QTensor]:
    graph, made = prepared.graph, {}
    for node in graph:
        if node.op in WEIGHTED and is_integer(node, graph):
            w = graph.constants[node.inputs[1]]
            assert isinstance(w, np.ndarray)
            made[node.inputs[1]] = prepared.recipe.weights(w)
    return made


def integer_network(
    graph: Graph,
    edges: Mapping[str, QParams],
    weights: Mapping[str, QTensor],
    how: Requantization,
) -> Network:
    """The graph on codes: integer kernels where there are, doors where codes and floats meet.

    Args:
        graph: a fused float graph.
        edges: what the codes of each edge mean.
        weights: the quantized weight for each weight's name.
        how: the arithmetic of requantization.
    """
    made = _Conversion(graph, edges)
    for node in graph:
        made.add(node, how)
    outputs = tuple(made.as_float(edge) for edge in graph.outputs)
    graph = graph.with_nodes(
        made.nodes,
        outputs=outputs,
        constants={**graph.constants, **weights},
        parameters=frozenset(),
        qparams=made.qparams,
        shapes={**graph.shapes, **made.shapes},
    )
    return Network(graph.without_unused())


@dataclass
class _Conversion:
    """The nodes made so far; codes of edge `e` are the edge `e:codes`."""

    graph: Graph
    edges: Mapping[str, QParams]
    nodes: list[Node] = field(default_factory=list)
    qparams: dict[str, QParams] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    floats: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.floats |= {*self.graph.inputs, *self.graph.constants}

    def add(self, node: Node, how: Requantization) -> None:
        """On codes if there is a kernel and a meaning for the result, else in float."""
        if is_integer(node, self.graph) and node.output in self.edges:
            inputs = tuple(
                name if name in self.graph.constants else self.as_codes(name)
                for name in node.inputs
            )
            output = self._codes(node.output)
            self.nodes.append(replace(_integer(node, how), inputs=inputs, outputs=(output,)))
        else:
            inputs = tuple(self.as_float(name) for name in node.inputs)
            self.nodes.append(replace(node, inputs=inputs))
            self.floats.add(node.output)

    def _codes(self, edge: str) -> str:
        name = f"{edge}:codes"
        self.qparams[name] = self.edges[edge]
        if edge in self.graph.shapes:
            self.shapes[name] = self.graph.shapes[edge]
        return name

    def as_codes(self, edge: str) -> str:
        """The edge's codes; a QuantizeLinear makes them where they are not yet."""
        if f"{edge}:codes" not in self.qparams:
            output = self._codes(edge)
            self.nodes.append(Node("QuantizeLinear", f"{edge}:quantize", (edge,), (output,)))
        return f"{edge}:codes"

    def as_float(self, edge: str) -> str:
        """The edge's real numbers; a DequantizeLinear makes them where they are not yet."""
        if edge not in self.floats:
            codes = f"{edge}:codes"
            self.nodes.append(Node("DequantizeLinear", f"{edge}:dequantize", (codes,), (edge,)))
            self.floats.add(edge)
        return edge


_INTEGER_NAMES = {
    "Gemm": "QGemm",
    "Conv": "QLinearConv",
    "Add": "QLinearAdd",
    "Concat": "QLinearConcat",
    "AveragePool": "QLinearAveragePool",
    "GlobalAveragePool": "QLinearGlobalAveragePool",
}


def _integer(node: Node, how: Requantization) -> Node:
    if node.op in PASSING:
        return node
    if node.op in TABLES:
        return node.turned("Table", function=node.op)
    more: dict[str, Any] = {} if node.op in ("Add", "Concat") else {"requantization": how}
    return node.turned(_INTEGER_NAMES[node.op], **more)
