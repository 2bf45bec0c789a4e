"""Nodes being written in place of others: edges, constants and the meaning of codes by name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from numq.graph.graph import Constant, Graph, Node
from numq.qparams import QParams
from numq.qtensor import QTensor


@dataclass
class Writing:
    """What has been written of a graph so far.

    Attributes:
        graph: that is written anew.
        nodes: so far.
        constants: that came in addition.
        qparams: of edges that came in addition.
    """

    graph: Graph
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    qparams: dict[str, QParams] = field(default_factory=dict)

    def keep(self, node: Node) -> None:
        """The node as it is."""
        self.nodes.append(node)

    def emit(
        self,
        node: Node,
        part: str,
        op: str,
        *inputs: str,
        edge: str | None = None,
        meaning: QParams | None = None,
        **attributes: Any,
    ) -> str:
        """One operator of those that a node is written as; returns the edge that it makes.

        Args:
            node: what is written.
            part: of its name, and of the edge's.
            op: the operator.
            inputs: what it reads.
            edge: what it makes, if that has a name already.
            meaning: of the codes on the edge.
            attributes: of the operator.
        """
        made = edge or f"{node.output}:{part}"
        self.nodes.append(Node(op, f"{node.name}:{part}", inputs, (made,), attributes))
        if meaning is not None:
            self.qparams[made] = meaning
        return made

    def cast(self, node: Node, part: str, edge: str, dtype: str) -> str:
        """The edge in another dtype."""
        return self.emit(node, part, "Cast", edge, to=dtype)

    def scaled(self, node: Node, part: str, edge: str, factor: float) -> str:
        """The edge times a number, if that is not 1."""
        if factor == 1:
            return edge
        return self.emit(node, part, "Mul", edge, self.constant(node, f"{part}:factor", factor))

    def constant(self, node: Node, part: str, value: Constant | float) -> str:
        """A constant that a node needs; its name. A Python number becomes float32."""
        name = f"{node.name}:{part}"
        self.constants[name] = np.asarray(value, np.float32) if isinstance(value, float) else value
        return name

    def real(self, constant: str) -> str:
        """A quantized constant as numbers; the edge, made once."""
        edge = f"{constant}:real"
        if all(edge not in node.outputs for node in self.nodes):
            name = f"{constant}:dequantize"
            self.nodes.append(Node("DequantizeLinear", name, (constant,), (edge,)))
        return edge

    def rename(self, edge: str, to: str) -> None:
        """The edge of the last node under another name."""
        assert self.nodes[-1].outputs == (edge,)
        self.nodes[-1] = replace(self.nodes[-1], outputs=(to,))

    def meaning(self, edge: str) -> QParams | None:
        """What codes mean on an edge, if it has any."""
        return self.qparams.get(edge, self.graph.qparams.get(edge))

    def ndim(self, edge: str) -> int | None:
        """How many axes an edge has, if that was recorded."""
        shape = self.graph.shapes.get(edge)
        constant = self.graph.constants.get(edge)
        if isinstance(constant, np.ndarray | QTensor):
            shape = constant.shape
        return None if shape is None else len(shape)
