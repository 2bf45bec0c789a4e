"""The flow to integers from end to end: a calibrated or trained graph becomes a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numq.arrays import as_data, as_float32
from numq.flows.batches import Batches, checked
from numq.flows.fuse import fuse
from numq.flows.integers import integer_node
from numq.flows.network import Network
from numq.flows.plan import Plan
from numq.flows.prepare import Prepared, calibrated, edge_qparams, prepare
from numq.flows.qat_network import QATNetwork
from numq.flows.qat_weights import Estimator
from numq.flows.recipe import PER_TENSOR_INT8, WEIGHTS_INT8, Override, Recipe
from numq.flows.record import as_graph, check_batch, check_call
from numq.flows.weights import quantized_weights, with_weights
from numq.graph import Graph, Node
from numq.nn import Module
from numq.qparams import QParams
from numq.qtensor import QTensor
from numq.quantizers import Quantizer
from numq.requantization import Requantization


def static(
    model: Module | Graph,
    calibration: Batches,
    *,
    weights: Quantizer = WEIGHTS_INT8,
    activations: Quantizer = PER_TENSOR_INT8,
    others: Quantizer = PER_TENSOR_INT8,
    requantization: Requantization = Requantization.FIXED_SINGLE_UP,
    overrides: tuple[Override, ...] = (),
) -> Network:
    """Integers from the quantized input to the output, ranges calibrated beforehand.

    What has no integer kernel stays a float island between two doors; `Network.islands` lists them.

    Args:
        model: a module or a graph.
        calibration: batches of real numbers that stand for what will come, arrays or Tensors; a
            tuple for a model with several inputs.
        weights: per tensor or per channel of axis 0, 8 bits or fewer.
        activations: per tensor; of what a Conv or Gemm reads.
        others: per tensor; of all other edges, the outputs among them.
        requantization: the arithmetic of requantization.
        overrides: other choices for some nodes, see `Recipe`.

    Raises:
        TypeError: a model, batch or quantizer of another type.
        ValueError: no calibration data, another number of inputs than the model takes, or a weight
            that no integer kernel can use. What the model refuses of a batch is told under its
            name, `calibration[i]`.
    """
    recipe = Recipe(weights, activations, others, requantization, overrides)
    inputs = model.inputs if isinstance(model, Graph) else None
    batches = list(checked(calibration, "calibration", inputs))
    if isinstance(model, Module):
        for i, given in enumerate(batches):
            check_call(model, given, f"calibration[{i}]")
    first = "calibration[0]"
    graph = as_graph(model, *(_example(x, first) for x in batches[0]), where=first)
    prepared = calibrated(prepare(fuse(graph), recipe), batches, "calibration")
    if isinstance(model, Module) and len(batches) > 1:
        last = f"calibration[{len(batches) - 1}]"
        check_batch(model, graph, tuple(_example(x, last) for x in batches[-1]), last)
    return convert(prepared)


def _example(x: Any, name: str) -> Any:
    """What the network is recorded with: float32, integers, which may be indices, or bools."""
    if x is None:
        return None
    if isinstance(x, tuple):
        return tuple(_example(part, name) for part in x)
    array = as_data(x, name)
    return array if array.dtype.kind in "iub" else as_float32(array, name)


def convert(prepared: Prepared | QATNetwork) -> Network:
    """A calibrated graph, or a network trained with fake-quantization, as an integer network.

    Raises:
        ValueError: an edge that was not calibrated, weights that no integer kernel can use, or
            binary activations, which have no integer kernel.
    """
    if isinstance(prepared, QATNetwork):
        return Network(trained_graph(prepared))
    if not isinstance(prepared, Prepared):
        raise TypeError(
            f"prepared is a {type(prepared).__name__}; allowed are what calibrate and prepare_qat "
            "give"
        )
    weights = {n: c.weights for n, c in prepared.plan.nodes.items() if c.weights is not None}
    codes = quantized_weights(prepared.graph, weights)
    return Network(integer_graph(prepared.graph, prepared.plan, edge_qparams(prepared), codes))


def trained_graph(network: QATNetwork) -> Graph:
    """On codes, with the weights and ranges that the network has now."""
    if network.recipe.activation_estimator is Estimator.BINARY:
        raise ValueError(
            "activation_estimator is BINARY; allowed are the others: codes ±1 have no integer "
            "kernel here"
        )
    ranges = {edge: network.edge_qparams(edge) for edge in network.edges}
    graph, codes = network.folded_graph()
    return integer_graph(graph, network.plan, network.plan.meanings(ranges), codes)


def integer_graph(
    graph: Graph, plan: Plan, edges: Mapping[str, QParams], weights: Mapping[str, QTensor]
) -> Graph:
    """The graph on codes: integer kernels where there are, doors where codes and floats meet.

    Args:
        graph: a fused float graph.
        plan: its nodes on codes.
        edges: what the codes of each edge mean.
        weights: the quantized weight of each node that has one, by the node's name.
    """
    graph = with_weights(graph, weights)
    made = _Conversion(graph, plan, edges)
    for node in graph:
        made.add(node)
    outputs = tuple(made.as_float(edge) for edge in graph.outputs)
    integers = graph.with_nodes(
        made.nodes,
        outputs=outputs,
        parameters=frozenset(),
        qparams=made.qparams,
        shapes={**graph.shapes, **made.shapes},
    )
    return integers.without_unused()


@dataclass
class _Conversion:
    """The nodes made so far; codes of edge `e` are the edge `e:codes`."""

    graph: Graph
    plan: Plan
    edges: Mapping[str, QParams]
    nodes: list[Node] = field(default_factory=list)
    qparams: dict[str, QParams] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    floats: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.floats |= {*self.graph.inputs, *self.graph.constants}

    def add(self, node: Node) -> None:
        """On codes if the plan says so, else in float."""
        treatment = self.plan.nodes.get(node.name)
        if treatment is not None:
            inputs = tuple(
                name if name in self.graph.constants else self.as_codes(name)
                for name in node.inputs
            )
            made = integer_node(node, treatment, self.plan.rule(node.output))
            outputs = (self._codes(node.output),)
            self.nodes.append(replace(made, inputs=inputs, outputs=outputs))
        else:
            inputs = tuple(self.as_float(name) for name in node.inputs)
            self.nodes.append(replace(node, inputs=inputs))
            self.floats.update(node.outputs)

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
            rule = {"rule": self.plan.rule(edge)}
            self.nodes.append(Node("QuantizeLinear", f"{edge}:quantize", (edge,), (output,), rule))
        return f"{edge}:codes"

    def as_float(self, edge: str) -> str:
        """The edge's real numbers; a DequantizeLinear makes them where they are not yet."""
        if edge not in self.floats:
            codes = f"{edge}:codes"
            self.nodes.append(Node("DequantizeLinear", f"{edge}:dequantize", (codes,), (edge,)))
            self.floats.add(edge)
        return edge
