"""The graph: a network as data, with ONNX's names for what its nodes do.

Training, quantization, export and import meet here. A graph is a frozen value: flows take one and
give another. Edges are names; an edge carries real numbers, or integer codes if `qparams` says what
they mean. A constant is an array, or a QTensor where weights are quantized.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from numq.arrays import Array
from numq.qparams import QParams
from numq.qtensor import QTensor

Constant: TypeAlias = Array | QTensor
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Attributes:
        op: the ONNX operator's name; for what ONNX lacks, that of ONNX Runtime's contrib operator.
        name: unique in its graph.
        inputs: the edges and constants it reads, in ONNX's order.
        outputs: the edges it makes.
        attributes: by their ONNX names; newer versions' constant integer inputs (shape, axes) too.
            `activation = "Relu"` stands for a Relu fused behind the operation.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """The edge of a node that makes one."""
        (only,) = self.outputs
        return only

    def having(self, **attributes: Any) -> Node:
        """The same node with attributes added or replaced."""
        return replace(self, attributes={**self.attributes, **attributes})


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """Nodes in the order in which they run, and what they read.

    Attributes:
        inputs: edges that the caller gives.
        outputs: edges that the caller gets.
        nodes: every edge is made before it is read.
        constants: arrays and quantized tensors by name.
        parameters: which of the constants are learned.
        qparams: for each edge that carries codes, what they mean.
        shapes: of the edges when the network was recorded; for the reader, not for the arithmetic.

    Raises:
        ValueError: an edge that nothing makes, or that two nodes make.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Constant] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()
    qparams: Mapping[str, QParams] = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse edges from nowhere."""
        known = {*self.inputs, *self.constants}
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in known]
            if missing:
                raise ValueError(
                    f"node {node.name} ({node.op}) reads {missing[0]}, made by nothing"
                )
            twice = [name for name in node.outputs if name in known]
            if twice:
                raise ValueError(f"node {node.name} ({node.op}) makes {twice[0]} a second time")
            known.update(node.outputs)
        if lost := [name for name in self.outputs if name not in known]:
            raise ValueError(f"output {lost[0]} is made by nothing")

    def consumers(self, edge: str) -> list[Node]:
        """The nodes that read an edge."""
        return [node for node in self.nodes if edge in node.inputs]

    def producer(self, edge: str) -> Node | None:
        """The node that makes an edge; None for inputs and constants."""
        return next((node for node in self.nodes if edge in node.outputs), None)

    def activations(self, node: Node) -> list[str]:
        """The inputs of a node that are no constants."""
        return [name for name in node.inputs if name not in self.constants]

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
