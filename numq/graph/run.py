"""Running a graph: on Tensors (float operators, with gradients) or on arrays (all operators)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import shown
from numq.arrays import Array, check_type
from numq.autograd import Tensor, no_grad
from numq.graph.graph import Constant, Graph, Node
from numq.graph.inputs import (
    Numbers,
    Shape,
    arranged,
    as_given,
    check_count,
    check_inputs,
    resolved,
)
from numq.graph.operators import OPERATORS, SEVERAL, applied
from numq.graph.quantized import QUANTIZED
from numq.graph.schema import Carries, Size
from numq.qtensor import QTensor

Step: TypeAlias = Callable[..., Any]  # of the inputs that are no constants; an array, or several
_MOST_SHAPES = 64  # of inputs that a program remembers as checked
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
        ValueError: another number of inputs, shapes the graph was not recorded for, or an operator
            that works on codes.
        TypeError: inputs that are no Tensors, or hold numbers of another kind.
    """
    check_type(graph, Graph, "graph")
    check_count(graph, inputs)
    for name, x in zip(graph.inputs, inputs, strict=True):
        _check_tensor(name, graph.declared[name].numbers, x)
    sizes = check_inputs(graph, inputs)
    if coded := [node for node in graph if node.op not in (*OPERATORS, *SEVERAL)]:
        raise ValueError(
            f"{coded[0].label} has codes to work on; allowed here are real numbers: a Program "
            "runs it, on arrays"
        )
    values = {n: _real(graph, n, x) for n, x in zip(graph.inputs, inputs, strict=True)}
    given = constants or {}
    for name, constant in graph.constants.items():
        values[name] = given[name] if name in given else Tensor.of(_reals(constant))
    for node in graph:
        tensors = [values[name] for name in node.inputs]
        try:
            made = applied(resolved(node, sizes), tensors)
        except (ValueError, TypeError, IndexError) as error:
            raise type(error)(f"{node.label}: {error}") from error
        values |= zip(node.outputs, made, strict=True)
    return [values[name] for name in graph.outputs]


def _check_tensor(name: str, numbers: Numbers, x: object) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}, of inputs, is {shown(x)}; allowed are Tensors")
    allowed = {Numbers.REAL: "fiu", Numbers.INTEGER: "iu", Numbers.BOOL: "b"}[numbers]
    if x.dtype.kind not in allowed:
        raise TypeError(
            f"{name} has dtype {x.dtype}; allowed are {numbers.value}, which the graph takes there"
        )


def _real(graph: Graph, name: str, x: Tensor) -> Tensor:
    """Integers become float32 where real numbers are wanted, as in `run`."""
    counts = graph.declared[name].numbers is Numbers.REAL and x.dtype.kind != "f"
    return Tensor.of(x.data.astype(np.float32)) if counts else x


def run(program: Program, inputs: Sequence[ArrayLike], visit: Visit | None = None) -> list[Array]:
    """The outputs as arrays; nothing is recorded.

    Args:
        program: a graph, prepared.
        inputs: one for each input of the graph: real numbers, which become float32, integers where
            it takes indices, bools where it takes masks.
        visit: called with every edge's name and array, inputs included.

    Raises:
        TypeError, ValueError: inputs that the graph does not take; what an operator refuses, under
            the name of its node.
    """
    check_type(program, Program, "program")
    graph = program.graph
    check_count(graph, inputs)
    values: dict[str, Array] = dict(program.fixed)
    for name, x in zip(graph.inputs, inputs, strict=True):
        values[name] = as_given(name, graph.declared[name], x)
        if name in graph.qparams:
            values[name] = graph.qparams[name].format.checked(values[name], name)
        if visit:
            visit(name, values[name])
    sizes = program.sizes([values[name] for name in graph.inputs])
    for node, step, sources in program.plan:
        try:
            ready = step or program.step(resolved(node, sizes))
            made = ready(*[values[name] for name in sources])
        except (ValueError, TypeError, IndexError) as error:
            raise type(error)(f"{node.label}: {error}") from error
        if type(made) is tuple:
            values.update(zip(node.outputs, made, strict=True))
        else:
            values[node.outputs[0]] = made
        if visit:
            for name in node.outputs:
                visit(name, values[name])
    return [values[name] for name in graph.outputs]


class Program:
    """A graph whose weights are laid out for the processor, once; pickled as its graph.

    Attributes:
        graph: what is run.
        plan: each node, what it does and the edges that it does it to; no function where an
            attribute follows the inputs' shapes.
        fixed: constants that are outputs of the graph.
    """

    def __init__(self, graph: Graph) -> None:
        """Prepare every node.

        Raises:
            TypeError: no graph.
            ValueError: parameters that a kernel cannot use.
        """
        check_type(graph, Graph, "graph")
        self.graph = graph
        self.plan = tuple(
            (node, None if _follows(node) else self.step(node), graph.activations(node))
            for node in graph
        )
        self._accepted: dict[tuple[Shape, ...], dict[str, Shape]] = {}
        self.fixed = {n: _reals(c) for n, c in graph.constants.items() if n in graph.outputs}

    def step(self, node: Node) -> Step:
        """What a node does, as a function of the arrays that are no constants."""
        prepare = QUANTIZED.get(node.op)
        try:
            special = prepare(node, self.graph) if prepare else None
        except (ValueError, TypeError) as error:
            raise type(error)(f"{node.label}: {error}") from error
        return special or _float_step(node, self.graph)

    def sizes(self, inputs: Sequence[Array]) -> dict[str, Shape]:
        """The shapes of the inputs by name, checked when they come for the first time."""
        shapes = tuple([x.shape for x in inputs])
        found = self._accepted.get(shapes)
        if found is None:
            found = check_inputs(self.graph, inputs)
            if len(self._accepted) >= _MOST_SHAPES:
                self._accepted.clear()
            self._accepted[shapes] = found
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Laid out anew where it is loaded."""
        return Program, (self.graph,)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """One output as an array, several as a list of them.

        Args:
            inputs: what the model is called with: arrays and Tensors, None, tuples of them; or one
                for each input of the graph.
            named: the same by keyword.
        """
        outputs = run(self, arranged(self.graph, inputs, named))
        return outputs[0] if len(outputs) == 1 else outputs


def _follows(node: Node) -> bool:
    """Whether an attribute is to be resolved for the shapes that come."""
    values = [v for v in node.attributes.values() if isinstance(v, tuple)]
    return any(isinstance(n, Size) for value in values for n in value)


def _float_step(node: Node, graph: Graph) -> Step:
    """The float operator; on codes it moves them about, those of constants too."""
    coded = node.outputs[0] in graph.qparams
    fixed: dict[str, Tensor] = {}
    for i, name in enumerate(node.inputs):
        if name in graph.constants:
            moved = coded and node.schema.role(i) is Carries.EITHER
            fixed[name] = Tensor.of(_reals(graph.constants[name], codes=moved))

    def step(*arrays: Array) -> tuple[Array, ...]:
        fresh = iter(arrays)
        tensors = [fixed[n] if n in fixed else Tensor.of(next(fresh)) for n in node.inputs]
        with no_grad():
            return tuple(y.data for y in applied(node, tensors))

    return step


def _reals(constant: Constant, *, codes: bool = False) -> Array:
    """A constant as an array: what its codes stand for, or the codes."""
    if not isinstance(constant, QTensor):
        return constant
    return constant.codes if codes else constant.dequantize()
