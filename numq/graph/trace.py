"""From a network that ran to a graph: the autograd tape, with names.

Whatever the forward pass did is on the tape, so residual additions, concatenations and plain
function calls are seen as they are. What Python decided (a branch, a loop's length, a shape other
than −1) is recorded as it happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import Array
from numq.autograd.tensor import Node as TapeNode
from numq.autograd.tensor import Tensor, as_tensor, topological, tracing
from numq.graph.graph import Graph, Node
from numq.nn import Module


def trace(
    model: Module | Callable[..., Any], *examples: ArrayLike | Tensor, dropout: bool = False
) -> Graph:
    """Run the model once and record what it did, as in evaluation (no dropout, fixed statistics).

    Args:
        model: a module, or any function of tensors.
        examples: one input each. A module that has been called before needs none: zeros of the
            shapes that it saw last will do.
        dropout: record where nn.Dropout stands, for training the graph; run, it does nothing.

    Returns:
        A graph whose constants have the names of the module's parameters and buffers.

    Raises:
        ValueError: no examples, and none remembered; or a result that does not depend on the input.
        TypeError: the model returns something other than tensors.
    """
    inputs = [as_tensor(e) for e in examples] or _remembered(model)
    names: dict[int, str] = {}
    modes: list[tuple[Module, bool]] = []
    if isinstance(model, Module):
        names = {id(t): name for name, t in (*model.named_parameters(), *model.named_buffers())}
        modes = [(m, m.training) for _, m in model.named_modules()]
        model.eval()
    try:
        with tracing(dropout=dropout):
            results = model(*inputs)
    finally:
        for module, mode in modes:
            module.training = mode
    outputs = [results] if isinstance(results, Tensor) else list(_flat(results))
    return _Naming(inputs, names).graph(outputs)


def _remembered(model: object) -> list[Tensor]:
    seen = model.seen if isinstance(model, Module) else ()
    if not seen:
        raise ValueError("examples is empty; run the model once before, or give an input")
    return [Tensor(np.zeros(shape, dtype)) for shape, dtype in seen]


def _flat(results: object) -> Sequence[Tensor]:
    if isinstance(results, Tensor):
        return [results]
    if isinstance(results, tuple | list):
        return [t for part in results for t in _flat(part)]
    raise TypeError(
        f"model returns {type(results).__name__}; allowed are Tensors and tuples of them"
    )


class _Naming:
    """Names for every tensor of one tape, given in the order in which they were made."""

    def __init__(self, inputs: list[Tensor], names: dict[int, str]) -> None:
        self.names = names
        self.edges = {id(t): "x" if len(inputs) == 1 else f"x{i}" for i, t in enumerate(inputs)}
        self.inputs = tuple(self.edges.values())
        self.shapes = {self.edges[id(t)]: t.shape for t in inputs}
        self.constants: dict[str, Array] = {}
        self.parameters: set[str] = set()
        self.used: Counter[str] = Counter()
        self.nodes: list[Node] = []

    def graph(self, outputs: list[Tensor]) -> Graph:
        for output in outputs:
            for tensor in topological(output, lambda _: True):
                if id(tensor) not in self.edges:
                    self._add(tensor)
        made = tuple(self.edges[id(t)] for t in outputs)
        if not any(name in node.inputs for node in self.nodes for name in self.inputs):
            raise ValueError("the result does not depend on the input; nothing was recorded")
        return Graph(
            self.inputs, made, tuple(self.nodes), self.constants,
            frozenset(self.parameters), {}, self.shapes,
        ).without_unused()  # fmt: skip

    def _add(self, tensor: Tensor) -> None:
        if tensor.node is None:
            name = self._unique(self.names.get(id(tensor), "constant"))
            self.constants[name] = tensor.data
            if tensor.requires_grad:
                self.parameters.add(name)
        else:
            inputs = tuple(self.edges[id(t)] for t in tensor.node.inputs)
            name = self._unique(self._node_name(tensor.node))
            node = Node(tensor.node.op, name, inputs, (name,), tensor.node.attributes)
            self.nodes.append(node)
            self.shapes[name] = tensor.shape
        self.edges[id(tensor)] = name

    def _node_name(self, node: TapeNode) -> str:
        """The path of the module whose weight it reads, or the operator's name."""
        for t in node.inputs:
            if "." in self.names.get(id(t), ""):
                return self.names[id(t)].rsplit(".", 1)[0]
        return node.op.lower()

    def _unique(self, name: str) -> str:
        self.used[name] += 1
        candidate = name if self.used[name] == 1 else f"{name}_{self.used[name]}"
        return self._unique(name) if candidate in self.edges.values() else candidate
