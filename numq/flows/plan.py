"""The one decision about a graph: which nodes run on codes, and what the codes of an edge mean.

Calibration, training, conversion and comparison all follow the same plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from numq.flows.constants import fixed_edges, reached
from numq.flows.fuse import shape_of
from numq.flows.obstacles import kept_float, obstacle
from numq.flows.recipe import Override, Recipe
from numq.formats import integer_format, small_integers
from numq.granularity import PerChannel, PerTensor
from numq.graph import Graph, Node
from numq.graph.inputs import Numbers, used_as
from numq.integer import sigmoid_qparams, softmax_qparams, tanh_qparams
from numq.qparams import QParams
from numq.quantizers import Quantizer
from numq.requantization import Requantization
from numq.rules import QuantizeRule

WEIGHTED = ("Conv", "Gemm", "NormalizedConv", "NormalizedGemm")
"""Operators with a weight that is quantized; the last two are those of training."""

TABLES = ("Sigmoid", "Tanh", "Relu", "LeakyRelu", "Gelu", "Erf", "Abs", "Neg", "Clip", "Exp")
"""Functions of one element, which become tables of all codes."""

MERGING = ("Add", "Concat")
"""Operators of which every input is codes."""

INTEGER = (*WEIGHTED, *TABLES, *MERGING, "AveragePool", "GlobalAveragePool")
"""Operators that have integer kernels and a range of their own for the output."""

PASSING = (
    "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Dropout",
)  # fmt: skip
"""Operators that move codes about without changing what they mean."""

FIXED_RANGES = {"Sigmoid": sigmoid_qparams, "Tanh": tanh_qparams, "Softmax": softmax_qparams}
"""Operators whose results have a range that is known in advance."""

Useful: TypeAlias = Callable[[Override, Sequence[Node]], None]

_WHOLE = ("ArgMax", "Greater", "Less")  # integers or bools, whatever comes in
_COPYING = ("Concat", "Expand", "Pad", "Add", "Sub", "Mul", "Max", "Min")


@dataclass(frozen=True)
class OnCodes:
    """How one node computes on codes.

    Attributes:
        weights: what quantizes its weight; None for operators without one.
        requantization: the arithmetic of its requantization.
    """

    weights: Quantizer | None
    requantization: Requantization


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """Which edges carry codes and which nodes compute on them.

    Attributes:
        nodes: by name, the nodes that run on codes; all others stay float.
        quantizers: for each edge with a range of its own, what chooses the range.
        sources: for each edge that carries codes, the edge of `quantizers` whose range they have:
            itself, or where the codes come from that a Reshape moves about.
        fixed: what the codes of an edge mean where no data is needed to know.
        multiplied: the edges of `quantizers` whose codes a Conv or Gemm reads.
    """

    nodes: Mapping[str, OnCodes]
    quantizers: Mapping[str, Quantizer]
    sources: Mapping[str, str]
    fixed: Mapping[str, QParams]
    multiplied: frozenset[str]

    def rule(self, edge: str) -> QuantizeRule:
        """The arithmetic by which real numbers become the codes of an edge."""
        return self.quantizers[self.sources[edge]].rule

    def meanings(self, ranges: Mapping[str, QParams]) -> dict[str, QParams]:
        """What the codes of every edge mean, given it for the edges of `quantizers`."""
        return {edge: ranges[source] for edge, source in self.sources.items()}


def plan(graph: Graph, recipe: Recipe = Recipe()) -> Plan:
    """Decide for every edge and node of a fused graph.

    A node runs on codes if it has an integer kernel, real numbers that depend on the input where it
    wants codes, and constants (or what is made of them) where it wants weights. An operator that
    moves codes about does so where they are made or wanted by a kernel. Codes of an edge that a
    Conv or Gemm reads are those of `activations`, of any other edge of `others`.

    Raises:
        ValueError: nothing in the graph has a weight to quantize; an override that matches no node,
            or chooses what none of its nodes has; two nodes that want other codes of one edge; a
            granularity of weights that no kernel has.
    """
    given, real = reached(graph), real_edges(graph)
    able = with_kernels(graph)
    check_targets(graph, recipe.overrides, able, _useful)
    choices = {node.name: found for node in able if (found := recipe.of(node)) is not None}
    products = [node for node in able if node.op in WEIGHTED and node.name in choices]
    if not products:
        raise ValueError(
            f"graph has no Conv or Gemm with a constant weight; allowed is one to "
            f"quantize and more{_why(graph, able, real)}"
        )
    for node in products:
        check_channels(node, graph, choices[node.name].weights)
    moving = _moving(graph, real, {*choices}, recipe)
    sources = _sources(graph, given, {*choices}, moving)
    quantizers = _quantizers(graph, choices, sources)
    for override in recipe.overrides:
        if override.others is not None:
            _check_others(override, [n for n in able if n.name in choices], sources, graph)
    return Plan(
        {
            node.name: OnCodes(c.weights if node.op in WEIGHTED else None, c.requantization)
            for node in graph
            if (c := choices.get(node.name) or (recipe if node.name in moving else None))
        },
        quantizers,
        sources,
        _fixed(graph, quantizers),
        frozenset(sources[node.inputs[0]] for node in products),
    )


def with_kernels(graph: Graph) -> list[Node]:
    """The nodes that an integer kernel has, apart from moving codes about."""
    fixed, real = fixed_edges(graph), real_edges(graph)
    return [node for node in graph if _has_kernel(node, graph, fixed, real)]


def real_edges(graph: Graph) -> frozenset[str]:
    """The edges that depend on an input and carry real numbers, no indices and no truth values."""
    given, wanted = reached(graph), used_as(graph.nodes)
    whole = {name for name in graph.inputs if graph.declared[name].numbers is not Numbers.REAL}
    whole |= {name for name, numbers in wanted.items() if numbers is not Numbers.REAL}
    for node in graph:
        counted = [name for name in node.inputs if name in given]
        copies = node.op in PASSING or node.op in _COPYING
        if _counts(node) or (copies and counted and all(n in whole for n in counted)):
            whole.update(node.outputs)
    return given - whole


def _counts(node: Node) -> bool:
    """Whether it makes indices or truth values."""
    cast = node.op == "Cast" and not node.attributes["to"].startswith("float")
    return node.op in _WHOLE or cast


def _has_kernel(node: Node, graph: Graph, fixed: frozenset[str], real: frozenset[str]) -> bool:
    """Whether an integer kernel has the node and what it reads, apart from moving codes about."""
    if node.op not in INTEGER:
        return False
    if node.op in WEIGHTED:
        return obstacle(node, graph, fixed, real) is None
    if node.op in MERGING:
        return all(name in real for name in node.inputs)
    return node.inputs[0] in real


def _why(graph: Graph, able: Iterable[Node], real: frozenset[str]) -> str:
    """What keeps the products that there are from codes."""
    if any(node.op in WEIGHTED for node in able):
        return "; overrides make all of them stay float"
    return kept_float((node for node in graph if node.op in WEIGHTED), graph, real)


def check_channels(node: Node, graph: Graph, weights: Quantizer) -> None:
    """Refuse weights that an integer product cannot use; names the node."""
    shape, kind = shape_of(graph, node.inputs[1]), weights.granularity
    assert shape is not None
    kept = isinstance(kind, PerChannel) and kind.axis in (0, -len(shape))
    if not (kept or isinstance(kind, PerTensor)) or not small_integers(weights.format):
        raise ValueError(
            f"weights of node {node.name} ({node.op}) are {weights!r}, shape {shape}; allowed for "
            "an integer product are PerTensor() or PerChannel(0), the output channels, and "
            "integers of 8 bits or fewer"
        )


def _moving(
    graph: Graph, real: frozenset[str], kernels: set[str], recipe: Recipe
) -> frozenset[str]:
    """The nodes that move codes about: behind a kernel, or before one."""
    able = {
        node.name
        for node in graph
        if node.op in PASSING
        and node.inputs[0] in real
        and (node.op == "Dropout" or recipe.of(node) is not None)  # Dropout goes with training
    }
    chosen, codes = set[str](), set[str]()
    for node in graph:  # behind a kernel
        if node.name in kernels or (node.name in able and node.inputs[0] in codes):
            codes.update(node.outputs)
            chosen |= {node.name} & able
    wanted = set[str]()
    for node in reversed(graph.nodes):  # before one
        if node.name in kernels:
            wanted.update(name for name in node.inputs if name in real)
        elif node.name in able and node.outputs[0] in wanted:
            wanted.add(node.inputs[0])
            chosen.add(node.name)
    return frozenset(chosen)


def _sources(
    graph: Graph, given: frozenset[str], kernels: set[str], moving: frozenset[str]
) -> dict[str, str]:
    """Where the codes of each edge get their meaning."""
    sources: dict[str, str] = {}
    for node in graph:
        if node.name in moving:
            source = sources.setdefault(node.inputs[0], node.inputs[0])
            sources[node.output] = source
        elif node.name in kernels:
            for edge in (*node.inputs, node.output):
                if edge in given:
                    sources.setdefault(edge, edge)
    return sources


def _quantizers(
    graph: Graph, choices: Mapping[str, Recipe], sources: Mapping[str, str]
) -> dict[str, Quantizer]:
    """What chooses the range of each edge that is its own source; all who have a say must agree."""
    multiplied: dict[str, dict[str, Quantizer]] = {}
    made: dict[str, dict[str, Quantizer]] = {}
    read: dict[str, dict[str, Quantizer]] = {}
    for node in graph:
        if node.name not in choices:
            continue
        recipe = choices[node.name]
        made.setdefault(node.output, {})[node.name] = recipe.others
        if node.op in WEIGHTED:
            multiplied.setdefault(sources[node.inputs[0]], {})[node.name] = recipe.activations
            continue
        for edge in node.inputs:
            if edge in sources:
                read.setdefault(sources[edge], {})[node.name] = recipe.others
    own = dict.fromkeys(sources.values())
    return {e: _agreed(e, multiplied.get(e) or made.get(e) or read.get(e) or {}) for e in own}


def _agreed(edge: str, said: Mapping[str, Quantizer]) -> Quantizer:
    (first, quantizer), *rest = said.items()
    for name, other in rest:
        if other != quantizer:
            raise ValueError(
                f"edge {edge} is read by {first} with {quantizer!r} and by {name} with {other!r}; "
                "allowed is one meaning for an edge: override both alike"
            )
    return quantizer


def _fixed(graph: Graph, quantizers: Mapping[str, Quantizer]) -> dict[str, QParams]:
    """Ranges known in advance, unless a clip says otherwise."""
    made = {}
    for edge, quantizer in quantizers.items():
        node = graph.producer(edge)
        if node is not None and node.op in FIXED_RANGES and quantizer.clip == (None, None):
            made[edge] = FIXED_RANGES[node.op](integer_format(quantizer.format, "format"))
    return made


def _useful(override: Override, nodes: Sequence[Node]) -> None:
    """Weights and activations are those of products; tables and what moves codes have no sums."""
    pools = ("AveragePool", "GlobalAveragePool")
    has = {
        "weights": WEIGHTED,
        "activations": WEIGHTED,
        "requantization": (*WEIGHTED, *MERGING, *pools),
    }
    for name, operators in has.items():
        if name in override.chosen and not any(node.op in operators for node in nodes):
            allowed = ", ".join(op for op in operators if not op.startswith("Normalized"))
            raise ValueError(
                f"override of {override.target} has {name} and meets none; allowed is {allowed}"
            )


def _check_others(
    override: Override, able: Sequence[Node], sources: Mapping[str, str], graph: Graph
) -> None:
    """Refuse a choice for edges of which a Conv or Gemm, or their maker, decides."""
    products = [node for node in able if node.op in WEIGHTED]
    readers = {sources[node.inputs[0]]: node for node in reversed(products)}
    made = {node.output for node in able}
    met = [node for node in able if override.meets(node)]
    for node in met:
        given = () if node.op in WEIGHTED else node.inputs
        read = [sources[edge] for edge in given if edge in sources]
        if node.output not in readers or any(e not in readers and e not in made for e in read):
            return
    if met:
        edge = met[0].output
        raise ValueError(
            f"override of {override.target} has others; allowed is none at {edge}, "
            f"which {readers[edge].label} reads: its activations count there"
        )


def check_targets(
    graph: Graph, overrides: Iterable[Override], able: Iterable[Node], useful: Useful
) -> None:
    """Refuse overrides that meet nothing, and those that choose what their nodes do not have.

    Args:
        graph: a fused graph.
        overrides: choices for some of its nodes.
        able: the nodes that have choices.
        useful: refuses choices that none of the nodes of an operator has.
    """
    known = {node.name for node in able}
    for override in overrides:
        met = [node for node in graph if override.meets(node)]
        if not met:
            names = ", ".join(node.name for node in graph)
            kinds = ", ".join(sorted({node.op.removeprefix("Normalized") for node in graph}))
            raise ValueError(
                f"override of {override.target} has nothing that it meets; allowed are the nodes "
                f"{names}, the operators {kinds}"
            )
        useful(override, met)
        if override.chosen and not any(node.name in known for node in met):
            products = (node for node in met if node.op in WEIGHTED)
            why = kept_float(products, graph, real_edges(graph)) or (
                f"; {met[0].label} has no codes of its own"
            )
            raise ValueError(
                f"override of {override.target} has {override.chosen[0]}; allowed are choices for "
                f"nodes with codes{why}"
            )
