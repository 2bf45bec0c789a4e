"""From a network that ran to a graph: the autograd tape, with names.

Whatever the forward pass did is on the tape, so residual additions, concatenations and plain
function calls are seen as they are. What Python decided (a branch, a loop's length) is recorded as
it happened; where it depends on the length of an axis, `lengths` finds that out, and the graph
refuses other lengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from numq.arguments import shown
from numq.arrays import Array
from numq.autograd.tape import Node as TapeNode
from numq.autograd.tape import topological, tracing
from numq.autograd.tensor import Tensor, as_tensor
from numq.autograd.watching import watching
from numq.graph.dtypes import typed
from numq.graph.graph import Graph, Node
from numq.graph.inputs import Input, Numbers, Shape, used_as
from numq.graph.lengths import Watched, with_free_lengths
from numq.nn import Module
from numq.nn.call import Call


def trace(
    model: Module | Callable[..., Any], *examples: Any, dropout: bool = False, **named: Any
) -> Graph:
    """Run the model and record what it did, as in evaluation (no dropout, fixed statistics).

    The model runs several times, on inputs of other lengths too: an axis along which everything
    recorded stays the same, or follows the length, is free in the graph. An axis is fixed if the
    model branches, loops or computes by its length (see `numq.graph.lengths`); while it is
    recorded, a `shape` holds numbers that notice.

    Args:
        model: a module, or any function of tensors.
        examples: what it is called with: arrays, Tensors, None, tuples of them. A module that has
            been called before needs none: the same call again will do, on zeros (on True where it
            was given bools).
        dropout: record where nn.Dropout stands, for training the graph; run, it does nothing. In a
            model in training, one that is in evaluation itself is left out.
        named: the same by keyword, and whatever else the model takes; lists are no arrays here.

    Returns:
        A graph whose constants have the names of the module's parameters and buffers, with a Cast
        where Python mixed dtypes, as ONNX has one for all operands. Its inputs
        are the tensors among the arguments in their order: `x`, or `x0`, `x1`, …; those given by
        keyword have its name.

    Raises:
        ValueError: no examples, and none remembered; or a result that does not depend on the input.
        TypeError: the model returns something other than tensors, or examples that are no arrays.
    """
    call = call_of(model, examples, named)
    if not callable(model) or isinstance(model, type):
        raise TypeError(f"model is {shown(model)}; allowed are modules and functions of tensors")
    recorder = _Recorder(model, call, dropout)
    with evaluating(model):
        graph = recorder.graph(recorder.arrays)
        with remembering(model):
            return with_free_lengths(graph, recorder.again)


def call_of(model: object, examples: tuple[Any, ...], named: Mapping[str, Any]) -> Call:
    """The call with Tensors in it: the examples, or what the model has seen."""
    seen = model.seen if isinstance(model, Module) else None
    if examples or named:
        names = ["x"] if len(examples) == 1 else [f"x{i}" for i in range(len(examples))]
        return Call.of(tuple(map(_example, examples, names)), named)
    if seen is None:
        raise ValueError(
            "examples is empty; allowed is one input and more behind the model, as in (model, x), "
            "or a model that has run before"
        )
    return seen.mapped(lambda spec: Tensor(spec.example()))


def _example(value: Any, name: str) -> Any:
    """Lists and numbers as Tensors, as an example may be any array-like."""
    if value is None:
        return None
    if isinstance(value, tuple) and any(isinstance(v, Tensor | np.ndarray | None) for v in value):
        return tuple(_example(part, f"{name}[{i}]") for i, part in enumerate(value))
    return as_tensor(value, name=name)


@dataclass(frozen=True)
class _Recorder:
    """Records one call of a model, on its own arrays or on others."""

    model: Any
    call: Call
    dropout: bool

    @property
    def arrays(self) -> list[Array]:
        return [t.data for _, t in self.call.tensors()]

    @cached_property
    def names(self) -> dict[int, str]:
        """Those of the module's parameters and buffers by the ids of their tensors."""
        if not isinstance(self.model, Module):
            return {}
        stored = (*self.model.named_parameters(), *self.model.named_buffers())
        return {id(t): name for name, t in stored}

    def graph(self, arrays: Sequence[Array]) -> Graph:
        """The graph of the call with these arrays in it."""
        return self._recorded(arrays)[0]

    def _recorded(self, arrays: Sequence[Array]) -> tuple[Graph, dict[int, str]]:
        """The same, and the edge of each tensor by its id."""
        inputs = [Tensor.of(array) for array in arrays]
        fresh = iter(inputs)
        call = self.call.mapped(lambda _: next(fresh))
        with tracing(dropout=self.dropout):
            results = self.model(*call.args, **call.kwargs)
        outputs = [results] if isinstance(results, Tensor) else list(flat(results))
        keywords = [keyword for keyword, _ in self.call.tensors()]
        naming = _Naming(_input_names(keywords), inputs, self.names)
        return naming.graph(outputs), naming.edges

    def again(self, shapes: Sequence[Shape]) -> Watched:
        """The same with inputs of other shapes, and what was asked about lengths.

        Values are repeated, so that indices stay indices.
        """
        arrays = [_resized(x, s) for x, s in zip(self.arrays, shapes, strict=True)]
        with watching() as watch:
            graph, edges = self._recorded(arrays)
        asked = [edges.get(id(t), "") for t in watch.tensors if t.node]
        return Watched(graph, tuple(watch.questions), frozenset(asked))


def _resized(x: Array, shape: Shape) -> Array:
    if not x.size:
        return np.zeros(shape, x.dtype)
    for axis, n in enumerate(shape):
        x = np.take(x, np.arange(n) % x.shape[axis], axis)
    return x


def _input_names(keywords: Sequence[str]) -> list[str]:
    """Those by position are x, or x0, x1 and on; those of a keyword mask, or mask0 and on."""
    groups = Counter(keywords)
    seen: Counter[str] = Counter()
    names = []
    for keyword in keywords:
        number = "" if groups[keyword] == 1 else str(seen[keyword])
        names.append(f"{keyword or 'x'}{number}")
        seen[keyword] += 1
    return names


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """The model as it is used, and afterwards as it was.

    What is in evaluation in a model in training is known as `resting` to those who look.
    """
    modules = [m for _, m in model.named_modules()] if isinstance(model, Module) else []
    modes = [m.training for m in modules]
    resting = [m for m in modules if modes[0] and not m.training]
    for module in modules:
        module.training = False
    for module in resting:
        module.resting = True
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for module in resting:
            del module.resting


@contextmanager
def remembering(model: object) -> Iterator[None]:
    """Calls inside are not those that the modules remember."""
    modules = [m for _, m in model.named_modules()] if isinstance(model, Module) else []
    calls = [m.seen for m in modules]
    try:
        yield
    finally:
        for module, call in zip(modules, calls, strict=True):
            module.seen = call


def flat(results: object) -> Sequence[Tensor]:
    """The Tensors that a model returns, in order; TypeError for anything else."""
    if isinstance(results, Tensor):
        return [results]
    if isinstance(results, tuple | list):
        return [t for part in results for t in flat(part)]
    raise TypeError(
        f"model has a result of type {type(results).__name__}; allowed are Tensors and tuples of "
        "them"
    )


class _Naming:
    """Names for every tensor of one tape, given in the order in which they were made."""

    def __init__(
        self, input_names: Sequence[str], inputs: Sequence[Tensor], names: dict[int, str]
    ) -> None:
        self.names = names
        self.edges: dict[int, str] = {}
        self.used: Counter[str] = Counter()
        self.tensors = list(inputs)
        for name, tensor in zip(input_names, inputs, strict=True):
            self.edges[id(tensor)] = self._unique(name)
        self.inputs = tuple(self.edges.values())
        self.shapes = {self.edges[id(t)]: t.shape for t in inputs}
        self.constants: dict[str, Array] = {}
        self.parameters: set[str] = set()
        self.nodes: list[Node] = []

    def graph(self, outputs: list[Tensor]) -> Graph:
        for output in outputs:
            for tensor in topological(output, lambda _: True):
                if id(tensor) not in self.edges:
                    self._add(tensor)
        made = tuple(self.edges[id(t)] for t in outputs)
        if not any(name in node.inputs for node in self.nodes for name in self.inputs):
            what = "the input" if {*made} & {*self.inputs} else "independent of the input"
            raise ValueError(
                f"the result is {what}, so that nothing was recorded; allowed are results "
                "of operators on it"
            )
        declared = self._declared(outputs)
        found = typed(self.nodes, self.constants, declared, self._unique)
        shapes = self.shapes | {cast: self.shapes[edge] for cast, edge in found.casts.items()}
        return Graph(
            self.inputs, made, found.nodes, found.constants, frozenset(self.parameters), {}, shapes,
            declared,
        ).without_unused()  # fmt: skip

    def _declared(self, outputs: Sequence[Tensor]) -> dict[str, Input]:
        """Bools are bools; integers are integers where they are used as such, else numbers."""
        whole = {self.edges[id(t)] for t in outputs if t.dtype.kind in "iu"}
        wanted = used_as(self.nodes, whole)
        kinds = [
            Numbers.BOOL if tensor.dtype == np.bool_ else wanted.get(name, Numbers.REAL)
            for name, tensor in zip(self.inputs, self.tensors, strict=True)
        ]
        return {
            name: Input(kind, tensor.shape)
            for name, kind, tensor in zip(self.inputs, kinds, self.tensors, strict=True)
        }

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
