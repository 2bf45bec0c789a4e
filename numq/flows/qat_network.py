"""Quantization-aware training: a graph that computes in float what integers will compute.

Weights and edges pass through fake-quantization, where the plan of the static flow has codes. What
the model itself does in training it does here, too: batch normalization follows its batches by its
own momentum or stays frozen (`qat_norm`), and Dropout drops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from numq import autograd as ag
from numq.arguments import flag, shown
from numq.arrays import Array, FloatArray, check_type
from numq.autograd import Tensor, as_tensor, parameter, record
from numq.flows.constants import (
    computed,
    fold_constants,
    is_fixed,
    learned,
    without_dropout,
)
from numq.flows.fuse import check_float, folded, fuse_for_training
from numq.flows.integers import RECODING, integer_node, requantized
from numq.flows.plan import WEIGHTED, plan
from numq.flows.qat_norm import batch_normalized, is_live, normalized_product
from numq.flows.qat_weights import Estimator, QATRecipe, fake_quantized, weight_codes
from numq.flows.record import as_graph
from numq.graph import Graph, Node
from numq.graph.inputs import check_inputs, flattened, resolved
from numq.graph.operators import applied, apply
from numq.nn import Module
from numq.qat import Mask, binary_activations, fake_quantize_ste, lsq, lsq_initial_scale
from numq.qparams import QParams
from numq.qtensor import QTensor
from numq.quantizers import Quantizer

_OF_TRAINING = ("epsilon", "momentum", "training_mode", "frozen")  # what a folded normalization had


def prepare_qat(
    model: Module | Graph, *examples: ArrayLike, recipe: QATRecipe = QATRecipe()
) -> QATNetwork:
    """A module to be trained on, with the model's values to start from.

    Batch normalization keeps the momentum of the model's modules and stays frozen where it is, and
    Dropout drops in training. In a model in training, modules that were set to `eval()` stay so:
    normalization is frozen there, and Dropout does nothing. In a model that is in evaluation as a
    whole they cannot be told apart, so all of them train, but for normalization after `freeze()`.
    Whatever else a module decides by `training` is recorded as in evaluation.

    By F32_EVEN, F64_AWAY and FIXED_SINGLE_UP the integers are what was trained, code for code, but
    on ties and within a few units of float32 beside them. GEMMLOWP_DOUBLE and RUY_DOUBLE_UP round a
    product's accumulator twice, and that is not simulated: within s_x·s_w/s_y steps of a tie they
    may go the other way (about 0.2 % of the codes behind an 8-bit convolution, 3 % behind one of 4
    bits, which are one step off). In evaluation tables, sums, joins and means are those of the
    integers by every rule, ties among them.

    Args:
        model: a module that has been called before, or a graph, which knows the momentum and the
            Dropout that its nodes say.
        examples: an input for each of the model's, if it has not.
        recipe: quantizers and estimators.

    Raises:
        TypeError: a model or recipe of another type.
        ValueError: nothing in the graph can be quantized, or overrides that do not fit it.
    """
    check_type(recipe, QATRecipe, "recipe")
    return QATNetwork(fuse_for_training(as_graph(model, *examples, training=True)), recipe)


class QATNetwork(Module):
    """The graph with fake-quantization in it.

    Ranges of the edges start from the first batch. `freeze_observers` and `freeze_batch_norm` keep
    them and the statistics as they are.

    Attributes:
        graph: what runs; normalization is one node with the weights before it.
        recipe: quantizers and estimators.
        plan: which edges and nodes will run on codes.
        constants: the graph's constants as tensors, parameters learn.
        edges: what quantizes each edge that has a range of its own.
        scales: natural logarithms of the learned steps, by the name of their edge, or of their node
            and ".weight": a step of the optimizer then changes a scale by a share of it, and never
            its sign.
        ranges: (2,) observed ends of each edge, NaN until something was seen.
        zero_points: of the edges whose step is learned, NaN until something was seen.
    """

    def __init__(self, graph: Graph, recipe: QATRecipe) -> None:
        """Take copies of the graph's values.

        Raises:
            TypeError: no Graph, no QATRecipe.
            ValueError: constants that are quantized already; what `plan` refuses.
        """
        check_float(graph)
        check_type(recipe, QATRecipe, "recipe")
        self.graph, self.recipe = graph, recipe
        self.plan = plan(graph, recipe.static)
        self.edges: Mapping[str, Quantizer] = self.plan.quantizers
        self.observing, self.frozen = True, False
        self._params: dict[str, QParams] = {}
        self._steps = 0
        self._dropping = {
            node.name: np.random.default_rng([int(node.attributes.get("seed") or 0), i])
            for i, node in enumerate(graph)
            if node.op == "Dropout"
        }
        learning = learned(graph)
        self.constants = {
            name: Tensor(constant, requires_grad=name in learning)
            for name, constant in graph.constants.items()
            if isinstance(constant, np.ndarray)
        }
        self.scales: dict[str, Tensor] = {}
        self.zero_points: dict[str, Tensor] = {}
        own = [edge for edge in self.edges if edge not in self.plan.fixed]
        self.ranges = {edge: Tensor(np.full(2, np.nan)) for edge in own}
        self._start_steps()

    def _start_steps(self) -> None:
        """Learned steps: those of the edges wait for the first batch."""
        if self.recipe.activation_estimator is Estimator.LSQ:
            for edge in self.ranges:
                self.scales[edge] = parameter(np.float32(0))
                self.zero_points[edge] = Tensor(np.float32(np.nan))
        if self.recipe.weight_estimator is Estimator.LSQ:
            for node in self.graph:
                if (quantizer := self._quantizer(node)) is not None:
                    self.scales[_step(node)] = parameter(np.log(self._start(node, quantizer)))

    def _quantizer(self, node: Node) -> Quantizer | None:
        """Of the node's weight; None where it has none, or stays float."""
        treatment = self.plan.nodes.get(node.name)
        return None if treatment is None else treatment.weights

    def _start(self, node: Node, quantizer: Quantizer) -> FloatArray:
        w, _ = self._folded(node, self._values())
        return lsq_initial_scale(w, quantizer.format, quantizer.granularity)

    def freeze_observers(self) -> Self:
        """From now on the ranges of the edges stay what they are; learned steps still learn."""
        self.observing = False
        return self

    def freeze_batch_norm(self) -> Self:
        """From now on training, too, uses the running statistics; γ and β still learn."""
        self.frozen = True
        return self

    def forward(self, *inputs: Any) -> Tensor | list[Tensor]:
        """The outputs with the errors of quantization in them.

        Raises:
            ValueError: another number of inputs than the graph has, or a shape that it was not
                recorded for.
        """
        inputs = tuple(as_tensor(x, name=f"inputs[{i}]") for i, x in enumerate(flattened(inputs)))
        sizes = check_inputs(self.graph, inputs)
        self._steps += self.training
        floats = dict(zip(self.graph.inputs, inputs, strict=True)) | self.constants
        codes = {name: self._edge(name, floats[name]) for name in self.graph.inputs}
        for node in (resolved(node, sizes) for node in self.graph):
            self._run(node, floats, codes)
        outputs = [floats[name] for name in self.graph.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def _run(self, node: Node, floats: dict[str, Tensor], codes: dict[str, Tensor]) -> None:
        """One node on what it reads after conversion, the codes of an edge or its real numbers.

        An edge that a float island makes, or an input, has both: its codes are rounded for the
        integer nodes that read it. Behind an integer node the real numbers are those of the codes.
        """
        if node.op == "Dropout":
            self._drop(node, floats, codes)
            return
        integer = node.name in self.plan.nodes
        given = [codes.get(e, floats[e]) if integer else floats[e] for e in node.inputs]
        several = len(node.outputs) > 1
        made = applied(node, given) if several else (self._computed(node, given),)
        for edge, y in zip(node.outputs, made, strict=True):
            codes[edge] = self._edge(edge, y)
            if integer and not self.training and node.op in RECODING:
                codes[edge] = self._requantized(node, given, codes[edge])
            floats[edge] = codes[edge] if integer or self._is_binary(edge) else y

    def _requantized(self, node: Node, given: list[Tensor], y: Tensor) -> Tensor:
        """The result with the ties as the integer kernel breaks them."""
        if self.recipe.activation_estimator is Estimator.BINARY:
            return y
        edges, sources = {*node.inputs, node.output}, self.plan.sources
        meanings = {edge: self.edge_qparams(sources[edge]) for edge in edges}
        kernel = integer_node(node, self.plan.nodes[node.name], self.plan.rule(node.output))
        return requantized(kernel, given, y, meanings)

    def _computed(self, node: Node, given: list[Tensor]) -> Tensor:
        attributes = self._attributes(node)
        if node.op == "Relu" and self._is_binary(node.output):
            return given[0]
        if node.op == "BatchNormalization":
            return batch_normalized(node, given, self._statistics(node, 3))
        if node.op.startswith("Normalized"):
            live = self._statistics(node, 5)
            return normalized_product(node, given, attributes, live, self._weight, self._bias)
        if node.op not in WEIGHTED:
            return apply(node.op, given, attributes)
        w, s_w = self._weight(node, given[1])
        biases = [self._bias(node, b, w, s_w) for b in given[2:]]
        return apply(node.op, [given[0], w, *biases], attributes)

    def _drop(self, node: Node, floats: dict[str, Tensor], codes: dict[str, Tensor]) -> None:
        """Dropout, which conversion takes away: what reads it reads what is before it."""
        source, output, ratio = node.inputs[0], node.output, float(node.attributes["ratio"])
        both = [floats[source], codes.get(source, floats[source])]
        if self.training and ratio > 0:
            kept = self._dropping[node.name].random(both[0].shape, np.float32) >= ratio
            factor = Tensor((kept / (1 - ratio)).astype(both[0].dtype))
            both = [ag.mul(x, factor) for x in both]
        floats[output], codes[output] = both[0], self._edge(output, both[1])

    def _statistics(self, node: Node, first: int) -> list[Tensor] | None:
        """The running mean and variance, if they follow the batches now."""
        running = [self.constants.get(name) for name in node.inputs[first : first + 2]]
        known = [t for t in running if t is not None]
        live = self.training and not self.frozen and is_live(node) and len(known) == 2
        return known if live else None

    def _weight(self, node: Node, w: Tensor) -> tuple[Tensor, FloatArray | None]:
        """The weight fake-quantized, and its scale; as it is if the node stays float."""
        quantizer, kind = self._quantizer(node), self.recipe.weight_estimator
        if quantizer is None:
            return w, None
        step = _step(node)
        if step in self.scales:
            return fake_quantized(w, ag.exp(self.scales[step]), kind, quantizer)
        if kind is not Estimator.STE or not self.training:
            return fake_quantized(w, None, kind, quantizer)
        if node.name not in self._params or self._steps % self.recipe.refresh == 0:
            self._params[node.name] = quantizer.qparams(w.data)
        return fake_quantized(w, self._params[node.name], kind, quantizer)

    def _bias(self, node: Node, b: Tensor, w: Tensor, s_w: FloatArray | None) -> Tensor:
        """Rounded to multiples of s_x·s_w, as int32 will hold it; identity gradient.

        With few bits these are large steps, and a network that has not met them loses by them. A
        channel whose weights are all zero has a unit that is fine beside its output's: it stays.
        """
        edge = self.plan.sources.get(node.inputs[0])
        if s_w is None or edge is None or self.recipe.activation_estimator is Estimator.BINARY:
            return b
        unit = self.edge_qparams(edge).scale.astype(np.float64) * s_w
        exact = b.data.astype(np.float64)
        rounded = (np.rint(exact / unit) * unit).astype(b.dtype)
        dead = ~w.data.any(axis=tuple(range(1, w.ndim)))
        return record("FakeQuantize", (b,), np.where(dead, b.data, rounded), lambda g: (g,))

    def _is_binary(self, edge: str) -> bool:
        """Whether the edge carries ±1, which takes the place of a ReLU before it."""
        binary = self.recipe.activation_estimator is Estimator.BINARY
        return binary and edge not in self.graph.inputs and edge in self.plan.multiplied

    def _attributes(self, node: Node) -> Mapping[str, Any]:
        """Those of the node, without a ReLU that gives way to a binary activation."""
        if self._is_binary(node.output):
            return {k: v for k, v in node.attributes.items() if k != "activation"}
        return node.attributes

    def _edge(self, edge: str, x: Tensor) -> Tensor:
        """What the edge carries, as codes would."""
        if edge not in self.edges:
            return x
        if self._is_binary(edge):
            return binary_activations(x)
        self._observe(edge, x.data)
        if edge in self.scales:
            step, zero = ag.exp(self.scales[edge]), self.zero_points[edge]
            return lsq(x, step, self.edges[edge].format, zero_point=zero)
        rule = self.edges[edge].rule
        return fake_quantize_ste(x, self.edge_qparams(edge), mask=Mask.ROUNDED_INSIDE, rule=rule)

    def _observe(self, edge: str, x: FloatArray) -> None:
        """Let the range follow the batch; the first one is taken whole."""
        if edge in self.plan.fixed:
            return
        new = bool(np.isnan(self.ranges[edge].data[0]))
        if not new and not (self.training and self.observing and edge not in self.scales):
            return
        quantizer = self.edges[edge]
        try:
            state = quantizer.observe(x)
        except ValueError as error:
            raise ValueError(f"edge {edge}: {error}") from error
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
            ValueError: no such edge, or nothing was seen on it yet.
        """
        observed = flag(observed, "observed")
        if not isinstance(edge, str) or edge not in self.edges:
            raise ValueError(
                f"edge is {shown(edge)}; allowed are those with a range: {', '.join(self.edges)}"
            )
        if edge in self.plan.fixed:
            return self.plan.fixed[edge]
        quantizer = self.edges[edge]
        low, high = self.ranges[edge].data
        if np.isnan(low):
            raise ValueError(
                f"edge {edge} has seen nothing; allowed are edges after a batch has run through "
                "the network"
            )
        if edge in self.scales and not observed:
            step = np.exp(self.scales[edge].data)
            zero = int(self.zero_points[edge].data)
            return QParams(step, zero, quantizer.format)
        return quantizer.qparams_for(low, high)

    def _values(self) -> dict[str, Array]:
        """The constants, and what the graph makes of constants alone."""
        values = {name: t.data for name, t in self.constants.items()}
        for node in self.graph:
            if is_fixed(node, values):
                values |= computed(node, values)
        return values

    def _folded(
        self, node: Node, values: Mapping[str, Array]
    ) -> tuple[FloatArray, FloatArray | None]:
        """Weight and bias as the integer network has them, before quantization."""
        w, *rest = (values[name] for name in node.inputs[1:])
        if not node.op.startswith("Normalized"):
            return w, rest[0] if rest else None
        return folded(w, rest[0], tuple(rest[1:]), node.attributes["epsilon"])

    def folded_graph(self) -> tuple[Graph, dict[str, QTensor]]:
        """The float graph with normalization folded, and the codes of its weights by node."""
        values, nodes, codes = self._values(), [], {}
        constants: dict[str, Array] = {k: t.data for k, t in self.constants.items()}
        for node in self.graph:
            if node.op not in WEIGHTED or node.inputs[1] not in values:
                nodes.append(node)
                continue
            w, b = self._folded(node, values)
            names = [f"{node.name}.weight:codes", f"{node.name}.bias:float"]
            constants |= {names[0]: w} | ({} if b is None else {names[1]: b})
            if (quantizer := self._quantizer(node)) is not None:
                known = self.scales.get(_step(node))
                scale = None if known is None else np.exp(known.data)
                codes[node.name] = weight_codes(w, scale, self.recipe.weight_estimator, quantizer)
            inputs = (node.inputs[0], *names[: 1 if b is None else 2])
            op = node.op.removeprefix("Normalized")
            nodes.append(node.turned(op, inputs=inputs, without=_OF_TRAINING))
        graph = self.graph.with_nodes(nodes, constants=constants, parameters=frozenset())
        return fold_constants(without_dropout(graph.without_unused())), codes


def _step(node: Node) -> str:
    """The name of the learned step of a node's weight."""
    return f"{node.name}.weight"
