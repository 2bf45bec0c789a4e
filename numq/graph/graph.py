"""The graph: a network as data, with ONNX's names for what its nodes do.

Training, quantization, export and import meet here. A graph is a frozen value: flows take one and
give another. Edges are names; an edge carries real numbers, or integer codes if `qparams` says what
they mean. A constant is an array, or a QTensor where weights are quantized.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from numq.arguments import shown
from numq.arrays import Array, check_type
from numq.graph.checks import check_graph, check_names
from numq.graph.inputs import Input, used_as
from numq.graph.schema import Schema
from numq.graph.schemas import schema_of
from numq.qparams import QParams
from numq.qtensor import QTensor

Constant: TypeAlias = Array | QTensor
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation, held against its schema when it is made.

    Attributes:
        op: the ONNX operator's name; for what ONNX lacks, that of ONNX Runtime's contrib operator.
        name: unique in its graph.
        inputs: the edges and constants it reads, in ONNX's order; optional ones at the end may be
            left out, or be "".
        outputs: the edges it makes.
        attributes: by their ONNX names, read-only; newer versions' constant integer inputs (shape,
            axes) too. Those left out have ONNX's defaults. `activation = "Relu"` stands for a Relu
            fused behind the operation.

    Raises:
        ValueError: an operator, an attribute or a value that its schema does not have, or another
            number of inputs or outputs.
        TypeError: an attribute of another type.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Complete the attributes, and refuse what the schema does not have."""
        check_type(self.name, str, "name")
        if not self.name:
            raise ValueError("name is empty; allowed is any other text")
        check_type(self.op, str, "op")
        try:
            made = self._checked()
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.label}: {error}") from None
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def _checked(self) -> dict[str, Any]:
        if not isinstance(self.attributes, Mapping):
            raise TypeError(f"attributes is {shown(self.attributes)}; allowed is a mapping")
        given = list(self.inputs) if isinstance(self.inputs, tuple | list) else self.inputs
        while isinstance(given, list) and given and given[-1] == "":
            given.pop()
        inputs, outputs = check_names(given, "inputs"), check_names(self.outputs, "outputs")
        schema = schema_of(self.op, self.attributes)
        schema.check_counts(len(inputs), len(outputs))
        attributes = MappingProxyType(schema.completed(self.attributes))
        return {"inputs": inputs, "outputs": outputs, "attributes": attributes}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled by what it was made from."""
        return Node, (self.op, self.name, self.inputs, self.outputs, dict(self.attributes))

    @property
    def label(self) -> str:
        """Name and operator, for messages."""
        return f"node {self.name} ({self.op})"

    @property
    def schema(self) -> Schema:
        """Its row in the table of operators."""
        return schema_of(self.op, self.attributes)

    @property
    def output(self) -> str:
        """The edge of a node that makes one; ValueError if it makes several."""
        if len(self.outputs) != 1:
            raise ValueError(
                f"{self.label} has the outputs {', '.join(self.outputs)}; allowed is one edge"
            )
        return self.outputs[0]

    def having(self, **attributes: Any) -> Node:
        """The same node with attributes added or replaced."""
        return replace(self, attributes={**self.attributes, **attributes})

    def turned(
        self,
        op: str,
        *,
        inputs: tuple[str, ...] | None = None,
        outputs: tuple[str, ...] | None = None,
        without: tuple[str, ...] = (),
        **attributes: Any,
    ) -> Node:
        """The same node as another operator.

        Args:
            op: the operator.
            inputs: what it reads; None: the same as before.
            outputs: what it makes; None: the same as before.
            without: attributes to leave behind.
            attributes: to add or replace.
        """
        kept = {k: v for k, v in self.attributes.items() if k not in without}
        return Node(
            op,
            self.name,
            self.inputs if inputs is None else inputs,
            self.outputs if outputs is None else outputs,
            {**kept, **attributes},
        )


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """Nodes in the order in which they run, and what they read.

    Attributes:
        inputs: edges that the caller gives.
        outputs: edges that the caller gets.
        nodes: every edge is made before it is read.
        constants: arrays and quantized tensors by name; a scalar of NumPy becomes an array.
        parameters: which of the constants are learned.
        qparams: for each edge that carries codes, what they mean.
        shapes: of the edges when the network was recorded; for the reader, not for the arithmetic.
        declared: the kind of numbers and the shape of each input. Of those left out, the kind is
            what the operators read it as (integers for indices, bools for a condition), the shape
            any.

    Raises:
        ValueError: a name that nothing makes, that two things make, or that is read before it is
            made; codes whose meaning is missing or changes on the way, a missing constant, notes
            about edges that are not there.
        TypeError: parts of other types.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Constant] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()
    qparams: Mapping[str, QParams] = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    declared: Mapping[str, Input] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what could not run; see `checks`."""
        for name in ("constants", "qparams", "shapes", "declared"):
            check_type(getattr(self, name), Mapping, name)
        given: Mapping[str, Any] = self.constants
        scalars = {k: np.asarray(c) for k, c in given.items() if isinstance(c, np.generic)}
        if scalars:
            object.__setattr__(self, "constants", {**given, **scalars})
        check_type(self.parameters, frozenset | set, "parameters")
        check_type(self.nodes, tuple | list, "nodes")
        for i, node in enumerate(self.nodes):
            check_type(node, Node, f"nodes[{i}]")
        object.__setattr__(self, "inputs", check_names(self.inputs, "inputs"))
        object.__setattr__(self, "outputs", check_names(self.outputs, "outputs"))
        object.__setattr__(self, "nodes", tuple(self.nodes))
        object.__setattr__(self, "parameters", frozenset(self.parameters))
        wanted = used_as(self.nodes)
        found = {name: Input(wanted[name]) if name in wanted else Input() for name in self.inputs}
        object.__setattr__(self, "declared", {**found, **self.declared})
        check_graph(self)

    def consumers(self, edge: str) -> list[Node]:
        """The nodes that read an edge."""
        check_type(edge, str, "edge")
        return [node for node in self.nodes if edge in node.inputs]

    def producer(self, edge: str) -> Node | None:
        """The node that makes an edge; None for inputs and constants."""
        check_type(edge, str, "edge")
        return next((node for node in self.nodes if edge in node.outputs), None)

    def activations(self, node: Node) -> list[str]:
        """The inputs of a node that are no constants of the graph.

        They are edges: the graph's inputs and what nodes make. An edge may still be the same in
        every run, where a node computes it from constants alone.
        """
        check_type(node, Node, "node")
        return [name for name in node.inputs if name not in self.constants]

    def with_nodes(self, nodes: Iterable[Node], **changes: Any) -> Graph:
        """The same graph with other nodes and fields, without notes of edges that are gone."""
        check_type(nodes, Iterable, "nodes")
        made = tuple(nodes)
        for i, node in enumerate(made):
            check_type(node, Node, f"nodes[{i}]")
        edges = {*self.inputs, *(edge for node in made for edge in node.outputs)}
        for name in ("qparams", "shapes"):
            notes = changes.get(name, getattr(self, name))
            changes[name] = {edge: note for edge, note in notes.items() if edge in edges}
        return replace(self, nodes=made, **changes)

    def without_unused(self) -> Graph:
        """The same graph without constants, nodes and notes that no output needs."""
        needed = set(self.outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        return replace(
            self,
            nodes=tuple(reversed(kept)),
            constants={k: v for k, v in self.constants.items() if k in needed},
            parameters=self.parameters & needed,
            qparams={k: v for k, v in self.qparams.items() if k in needed},
            shapes={k: v for k, v in self.shapes.items() if k in needed},
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all constants, quantized ones packed."""
        return sum(c.nbytes for c in self.constants.values())

    def __iter__(self) -> Iterator[Node]:
        """The nodes in order."""
        return iter(self.nodes)

    def __repr__(self) -> str:
        """A line for each node."""
        from numq.graph.show import table

        return table(self)
