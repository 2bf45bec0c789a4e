"""Quantization-aware training: a graph that computes in float what integers will compute.

Weights and edges pass through fake-quantization. Batch normalization is folded into the weights
*before* they are quantized (Jacob et al. 2018, section 3.2). While its statistics are those of the
batch, the weights are folded with the running ones, so that their grid does not shake, and the
output is corrected by σ/σ_batch (Krishnamoorthi 2018, section 3.2.2); once frozen, the running
statistics are all there is, as after conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from numq import autograd as ag
from numq.arrays import FloatArray, check_type
from numq.autograd import Tensor, parameter, record
from numq.flows.fuse import attach_batch_norm, folded, fuse_relu, products
from numq.flows.prepare import FIXED_RANGES, PASSING, feeds_product, is_integer
from numq.flows.qat_weights import Estimator, QATRecipe, fake_quantized, weight_codes
from numq.graph import Graph, Node, trace
from numq.graph.operators import apply
from numq.nn import Module
from numq.qat import Mask, binary_activations, fake_quantize_ste, lsq, lsq_initial_scale
from numq.qparams import QParams
from numq.qtensor import QTensor
from numq.quantizers import Quantizer

_WEIGHTED = ("Conv", "Gemm", "NormalizedConv", "NormalizedGemm")


def prepare_qat(
    model: Module | Graph, *examples: ArrayLike, recipe: QATRecipe = QATRecipe()
) -> QATNetwork:
    """A module to be trained on, with the model's values to start from.

    Args:
        model: a graph, or a module that has been called before.
        examples: an input for each of the model's, if it has not.
        recipe: quantizers and estimators.

    Raises:
        ValueError: nothing in the graph can be quantized.
    """
    check_type(recipe, QATRecipe, "recipe")
    graph = model if isinstance(model, Graph) else trace(model, *examples)
    return QATNetwork(fuse_relu(attach_batch_norm(products(graph))), recipe)


class QATNetwork(Module):
    """The graph with fake-quantization in it.

    Ranges of the edges start from the first batch. `freeze_observers` and `freeze_batch_norm` keep
    them and the statistics as they are.

    Attributes:
        graph: what runs; normalization is one node with the weights before it.
        recipe: quantizers and estimators.
        constants: the graph's constants as tensors, parameters learn.
        edges: what quantizes each edge that has a range of its own.
        sources: the edge of `edges` that gave each edge its codes.
        scales: natural logarithms of the learned steps, by the name of their weight or edge: a step
            of the optimizer then changes a scale by a share of it, and never its sign.
        ranges: (2,) observed ends of each edge, NaN until something was seen.
        zero_points: of the edges whose step is learned, NaN until something was seen.
    """

    def __init__(self, graph: Graph, recipe: QATRecipe) -> None:
        """Take copies of the graph's values."""
        self.graph, self.recipe = graph, recipe
        self.observing, self.frozen = True, False
        self._params: dict[str, QParams] = {}
        self._steps = 0
        self.constants: dict[str, Tensor] = {}
        for name, constant in graph.constants.items():
            if isinstance(constant, QTensor):
                raise ValueError(f"{name} is quantized already; training starts from float")
            learns = name in graph.parameters and constant.dtype.kind == "f"
            self.constants[name] = Tensor(constant, requires_grad=learns)
        self.edges = self._edges()
        self.sources = {edge: edge for edge in self.edges}
        for node in graph:
            if node.op in PASSING and node.inputs[0] in self.sources:
                self.sources[node.output] = self.sources[node.inputs[0]]
        self.scales: dict[str, Tensor] = {}
        self.ranges: dict[str, Tensor] = {}
        self.zero_points: dict[str, Tensor] = {}
        for edge in self.edges:
            self.ranges[edge] = Tensor(np.full(2, np.nan))
            if self._learned(edge):
                self.scales[edge] = parameter(np.float32(0))
                self.zero_points[edge] = Tensor(np.float32(np.nan))
        if recipe.weight_estimator is Estimator.LSQ:
            for node in self._weighted():
                self.scales[node.inputs[1]] = parameter(np.log(self._initial_scale(node)))

    def _edges(self) -> dict[str, Quantizer]:
        """The edges that carry codes after conversion and have a range of their own."""
        chosen: dict[str, Quantizer] = {}
        for node in self.graph:
            if not self._quantized(node):
                continue
            for edge in (*self.graph.activations(node), node.output):
                multiplied = feeds_product(self.graph, edge)
                chosen[edge] = self.recipe.activations if multiplied else self.recipe.others
        if not self._weighted():
            raise ValueError("graph has no Conv or Gemm with a constant weight")
        passing = {n.output for n in self.graph if n.op in PASSING and n.inputs[0] in chosen}
        return {edge: q for edge, q in chosen.items() if edge not in passing}

    def _quantized(self, node: Node) -> bool:
        return node.op in _WEIGHTED or is_integer(node, self.graph)

    def _weighted(self) -> list[Node]:
        return [node for node in self.graph if node.op in _WEIGHTED]

    def _learned(self, edge: str) -> bool:
        producer = self.graph.producer(edge)
        fixed = producer is not None and producer.op in FIXED_RANGES
        return self.recipe.activation_estimator is Estimator.LSQ and not fixed

    def _initial_scale(self, node: Node) -> FloatArray:
        w, _ = self._folded(node)
        quantizer = self.recipe.weights
        return lsq_initial_scale(w, quantizer.format, quantizer.granularity)

    def freeze_observers(self) -> Self:
        """From now on the ranges of the edges stay what they are; learned steps still learn."""
        self.observing = False
        return self

    def freeze_batch_norm(self) -> Self:
        """From now on training, too, uses the running statistics; γ and β still learn."""
        self.frozen = True
        return self

    def forward(self, *inputs: Tensor) -> Tensor | list[Tensor]:
        """The outputs with the errors of quantization in them."""
        self._steps += self.training
        values = dict(zip(self.graph.inputs, inputs, strict=True))
        for name in self.graph.inputs:
            values[name] = self._edge(name, values[name])
        values |= self.constants
        for node in self.graph:
            given = [values[name] for name in node.inputs]
            values[node.output] = self._edge(node.output, self._computed(node, given))
        outputs = [values[name] for name in self.graph.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def _computed(self, node: Node, given: list[Tensor]) -> Tensor:
        if node.op not in _WEIGHTED:
            return apply(node.op, given, self._attributes(node))
        if node.op.startswith("Normalized"):
            return self._normalized(node, given)
        w, s_w = self._weight(node, given[1])
        biases = [self._bias(node, b, s_w) for b in given[2:]]
        return apply(node.op, [given[0], w, *biases], self._attributes(node))

    def _normalized(self, node: Node, given: list[Tensor]) -> Tensor:
        """Conv or Gemm with batch normalization folded into its quantized weights."""
        x, w, b, gamma, beta, mean, var = given
        op, attributes = node.op.removeprefix("Normalized"), self._attributes(node)
        plain = {k: v for k, v in attributes.items() if k != "activation"}
        spread = Tensor(np.sqrt(var.data + w.dtype.type(node.attributes["epsilon"])))
        factor = gamma / spread  # (O,)
        column = (-1, *[1] * (w.ndim - 1))
        w_q, s_w = self._weight(node, w * ag.reshape(factor, column))
        if not self.training or self.frozen:
            bias = self._bias(node, (b - mean) * factor + beta, s_w)
            return apply(op, [x, w_q, bias], attributes)
        y = apply(op, [x, w, b], plain)
        axes = (0, *range(2, y.ndim))
        batch_mean = ag.mean(y, axes)
        centred = y - ag.reshape(batch_mean, _channels(y))
        batch_var = ag.mean(centred * centred, axes)
        self._follow(node, batch_mean.data, batch_var.data, y.size // y.shape[1])
        batch_spread = ag.sqrt(batch_var + node.attributes["epsilon"])
        product = apply(op, [x, w_q], plain) * ag.reshape(spread / batch_spread, _channels(y))
        shift = (b - batch_mean) * gamma / batch_spread + beta
        z = product + ag.reshape(shift, _channels(y))
        return ag.relu(z) if attributes.get("activation") else z

    def _weight(self, node: Node, w: Tensor) -> tuple[Tensor, FloatArray]:
        """The weight fake-quantized, and its scale."""
        name = node.inputs[1]
        if name in self.scales:
            return fake_quantized(w, ag.exp(self.scales[name]), self.recipe)
        if self.recipe.weight_estimator is not Estimator.STE or not self.training:
            return fake_quantized(w, None, self.recipe)
        if name not in self._params or self._steps % self.recipe.refresh == 0:
            self._params[name] = self.recipe.weights.qparams(w.data)
        return fake_quantized(w, self._params[name], self.recipe)

    def _bias(self, node: Node, b: Tensor, s_w: FloatArray) -> Tensor:
        """Rounded to multiples of s_x·s_w, as int32 will hold it; identity gradient.

        With few bits these are large steps, and a network that has not met them loses by them.
        """
        edge = self.sources.get(node.inputs[0])
        if edge is None or self.recipe.activation_estimator is Estimator.BINARY:
            return b
        unit = (self.edge_qparams(edge).scale.astype(np.float64) * s_w).astype(b.dtype)
        return record("FakeQuantize", (b,), np.rint(b.data / unit) * unit, lambda g: (g,))

    def _follow(self, node: Node, mean: FloatArray, var: FloatArray, count: int) -> None:
        """Running statistics go a tenth of the way, as nn.BatchNorm's (unbiased variance)."""
        unbiased = var * (count / max(count - 1, 1))
        for name, batch in zip(node.inputs[5:7], (mean, unbiased), strict=True):
            running = self.constants[name]
            running.data = (running.data + 0.1 * (batch - running.data)).astype(running.dtype)

    def _attributes(self, node: Node) -> Mapping[str, object]:
        """Those of the node; a ReLU gives way to a binary activation behind it."""
        binary = self.recipe.activation_estimator is Estimator.BINARY
        if binary and feeds_product(self.graph, node.output):
            return {k: v for k, v in node.attributes.items() if k != "activation"}
        return node.attributes

    def _edge(self, edge: str, x: Tensor) -> Tensor:
        """What the edge carries, as codes would."""
        if edge not in self.edges:
            return x
        inner = edge not in self.graph.inputs and feeds_product(self.graph, edge)
        if self.recipe.activation_estimator is Estimator.BINARY and inner:
            return binary_activations(x)
        self._observe(edge, x.data)
        if edge in self.scales:
            step, zero = ag.exp(self.scales[edge]), self.zero_points[edge]
            return lsq(x, step, self.edges[edge].format, zero_point=zero)
        return fake_quantize_ste(x, self.edge_qparams(edge), mask=Mask.ROUNDED_INSIDE)

    def _observe(self, edge: str, x: FloatArray) -> None:
        """Let the range follow the batch; the first one is taken whole."""
        new = bool(np.isnan(self.ranges[edge].data[0]))
        if not new and not (self.training and self.observing and edge not in self.scales):
            return
        quantizer = self.edges[edge]
        state = quantizer.observe(x)
        ends = np.stack(quantizer.observer.range(state, quantizer.target)).astype(np.float64)
        old = self.ranges[edge].data
        self.ranges[edge].data = ends if new else old + self.recipe.momentum * (ends - old)
        if new and edge in self.scales:
            params = self.edge_qparams(edge, observed=True)
            self.scales[edge].data = np.log(params.scale.astype(np.float32))
            self.zero_points[edge].data = params.zero_point.astype(np.float32)

    def edge_qparams(self, edge: str, *, observed: bool = False) -> QParams:
        """What the codes of an edge mean now.

        Args:
            edge: one of `edges`.
            observed: by the observed range, although a step is learned.

        Raises:
            ValueError: nothing was seen on the edge yet.
        """
        quantizer, producer = self.edges[edge], self.graph.producer(edge)
        if producer is not None and producer.op in FIXED_RANGES:
            return FIXED_RANGES[producer.op](quantizer.format)
        low, high = self.ranges[edge].data
        if np.isnan(low):
            raise ValueError(f"edge {edge} has seen nothing; run a batch through the network first")
        if edge in self.scales and not observed:
            step = np.exp(self.scales[edge].data)
            zero = int(self.zero_points[edge].data)
            return QParams(step, zero, quantizer.format)
        return quantizer.qparams_for(low, high)

    def _folded(self, node: Node) -> tuple[FloatArray, FloatArray | None]:
        """Weight and bias as the integer network has them, before quantization."""
        w, *rest = (self.constants[name].data for name in node.inputs[1:])
        if not node.op.startswith("Normalized"):
            return w, rest[0] if rest else None
        return folded(w, rest[0], tuple(rest[1:]), node.attributes["epsilon"])

    def folded_graph(self) -> tuple[Graph, dict[str, QTensor]]:
        """The float graph with normalization folded, and the codes of its weights."""
        nodes, constants, codes = [], {k: t.data for k, t in self.constants.items()}, {}
        for node in self.graph:
            if node.op not in _WEIGHTED:
                nodes.append(node)
                continue
            w, b = self._folded(node)
            names = [f"{node.name}.weight:codes", f"{node.name}.bias:float"]
            known = self.scales.get(node.inputs[1])
            scale = None if known is None else np.exp(known.data)
            codes[names[0]] = weight_codes(w, scale, self.recipe)
            constants |= {names[0]: w} | ({} if b is None else {names[1]: b})
            inputs = (node.inputs[0], *names[: 1 if b is None else 2])
            op = node.op.removeprefix("Normalized")
            nodes.append(node.turned(op, inputs=inputs, without=("epsilon",)))
        graph = self.graph.with_nodes(nodes, constants=constants, parameters=frozenset())
        return graph.without_unused(), codes


def _channels(y: Tensor) -> tuple[int, ...]:
    """The shape in which (C,) broadcasts against (N, C, ...)."""
    return (-1, *[1] * (y.ndim - 2))
