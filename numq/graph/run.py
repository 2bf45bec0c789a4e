"""Running a graph: on Tensors (float operators, with gradients) or on arrays (all operators)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from numpy.typing import ArrayLike

from numq.arrays import Array, as_float32, as_int
from numq.autograd import Tensor, no_grad
from numq.graph.graph import Graph, Node
from numq.graph.operators import apply
from numq.graph.quantized import QUANTIZED
from numq.qtensor import QTensor

Step: TypeAlias = Callable[..., Array]  # the arrays of the inputs that are no constants
Visit: TypeAlias = Callable[[str, Array], None]


def run_tensors(
    graph: Graph, inputs: Sequence[Tensor], constants: Mapping[str, Tensor] | None = None
) -> list[Tensor]:
    """The outputs as Tensors, on the tape.

    Args:
        graph: of float operators.
        inputs: one for each input of the graph.
        constants: tensors to use in place of the graph's constants, such as parameters that learn.

    Raises:
        ValueError: another number of inputs, or an operator that works on codes.
    """
    _check_count(graph, inputs)
    values = dict(zip(graph.inputs, inputs, strict=True))
    given = constants or {}
    for name, constant in graph.constants.items():
        plain = constant.dequantize() if isinstance(constant, QTensor) else constant
        values[name] = given[name] if name in given else Tensor.of(plain)
    for node in graph:
        values[node.output] = _applied(node, [values[name] for name in node.inputs])
    return [values[name] for name in graph.outputs]


def run(program: Program, inputs: Sequence[ArrayLike], visit: Visit | None = None) -> list[Array]:
    """The outputs as arrays; nothing is recorded.

    Args:
        program: a graph, prepared.
        inputs: one for each input of the graph, real numbers as float32, or indices.
        visit: called with every edge's name and array, inputs included.
    """
    graph = program.graph
    _check_count(graph, inputs)
    values = {name: _given(graph, name, x) for name, x in zip(graph.inputs, inputs, strict=True)}
    if visit:
        for name in graph.inputs:
            visit(name, values[name])
    with no_grad():
        for node, step in zip(graph.nodes, program.steps, strict=True):
            values[node.output] = step(*(values[name] for name in graph.activations(node)))
            if visit:
                visit(node.output, values[node.output])
    constants = {k: v for k, v in graph.constants.items() if not isinstance(v, QTensor)}
    return [values[name] if name in values else constants[name] for name in graph.outputs]


class Program:
    """A graph whose weights are laid out for the processor, once.

    Attributes:
        graph: what is run.
        steps: a function for each node.
    """

    def __init__(self, graph: Graph) -> None:
        """Prepare every node.

        Raises:
            ValueError: an operator that nobody knows, or parameters it cannot use.
        """
        self.graph = graph
        self.steps: tuple[Step, ...] = tuple(self._step(node) for node in graph)

    def _step(self, node: Node) -> Step:
        prepare = QUANTIZED.get(node.op)
        special = prepare(node, self.graph) if prepare else None
        return special or _float_step(node, self.graph)

    def __call__(self, *inputs: ArrayLike) -> Any:
        """One output as an array, several as a list of them."""
        outputs = run(self, inputs)
        return outputs[0] if len(outputs) == 1 else outputs


def _float_step(node: Node, graph: Graph) -> Step:
    fixed: dict[str, Tensor] = {}
    for name in node.inputs:
        if name in graph.constants:
            constant = graph.constants[name]
            plain = constant.dequantize() if isinstance(constant, QTensor) else constant
            fixed[name] = Tensor.of(plain)

    def step(*arrays: Array) -> Array:
        fresh = iter(arrays)
        tensors = [fixed[n] if n in fixed else Tensor.of(next(fresh)) for n in node.inputs]
        return _applied(node, tensors).data

    return step


def _applied(node: Node, tensors: list[Tensor]) -> Tensor:
    """The operator; what it refuses is told with the node's name."""
    try:
        return apply(node.op, tensors, node.attributes)
    except (ValueError, TypeError, IndexError) as error:
        raise type(error)(f"node {node.name} ({node.op}): {error}") from error


def _given(graph: Graph, name: str, x: ArrayLike) -> Array:
    """An input as float32; integers where it is used as indices."""
    indices = any(n.op in ("Gather", "GatherND") and n.inputs[1] == name for n in graph)
    return as_int(x, name) if indices else as_float32(x, name)


def _check_count(graph: Graph, inputs: Sequence[object]) -> None:
    if len(inputs) != len(graph.inputs):
        raise ValueError(f"{len(inputs)} inputs came; the graph takes {', '.join(graph.inputs)}")
