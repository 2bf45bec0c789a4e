"""What a graph takes: the kind of numbers and the shape of each input, checked when it runs.

Lengths of axes are numbers where the recording depends on them and names where it does not; axes of
one name have one length in a run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import shown
from numq.arrays import Array, as_data, as_float32, as_int, check_type
from numq.autograd import Tensor
from numq.graph.schema import Size

if TYPE_CHECKING:
    from numq.graph.graph import Graph, Node

Shape: TypeAlias = tuple[int, ...]


class Numbers(Enum):
    """What kind of numbers an input takes."""

    REAL = "real numbers"
    INTEGER = "integers"
    BOOL = "bools"


@dataclass(frozen=True)
class Input:
    """One input of a graph.

    Attributes:
        numbers: REAL becomes float32; INTEGER are indices or labels; BOOL is a mask.
        shape: a number for each axis whose length is fixed, a name for one that is free; None: any
            shape at all, which the operators check.
    """

    numbers: Numbers = Numbers.REAL
    shape: tuple[int | str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what is neither a length nor a name."""
        check_type(self.numbers, Numbers, "numbers")
        lengths = () if self.shape is None else self.shape
        if not isinstance(lengths, tuple | list) or not all(map(_length, lengths)):
            raise ValueError(f"shape is {shown(lengths)}; allowed are lengths from 0 on, and names")
        object.__setattr__(self, "shape", None if self.shape is None else tuple(lengths))


def _length(n: object) -> bool:
    return (isinstance(n, int) and not isinstance(n, bool) and n >= 0) or (
        isinstance(n, str) and bool(n)
    )


# Operators whose result has the numbers of the inputs named here: what they give to an index or a
# mask, they took from there.
_KEEPING: Mapping[str, slice] = {
    **dict.fromkeys(
        ("Reshape", "Flatten", "Transpose", "Unsqueeze", "Squeeze", "Expand", "Slice",
         "Split", "Pad", "ReduceSum", "ReduceMax", "ReduceMin", "Neg", "Abs", "Relu", "Clip",
         "Gather", "GatherND"),
        slice(0, 1),
    ),
    **dict.fromkeys(("Concat", "Add", "Sub", "Mul", "Max", "Min"), slice(None)),
    "Where": slice(1, 3),
}  # fmt: skip
_INDICES = ("Gather", "GatherND", "SoftmaxCrossEntropyLoss")


def used_as(nodes: Sequence[Node], whole: Collection[str] = ()) -> dict[str, Numbers]:
    """For each edge what the operators want of it, where that is not real numbers.

    Args:
        nodes: of a graph.
        whole: outputs of the graph that are integers.
    """
    wanted = dict.fromkeys(whole, Numbers.INTEGER)
    for node in reversed(nodes):
        if node.op in _INDICES:
            wanted[node.inputs[1]] = Numbers.INTEGER
        if node.op in ("MatMulInteger", "ConvInteger"):
            wanted |= dict.fromkeys(node.inputs, Numbers.INTEGER)
        if node.op == "Where":
            wanted[node.inputs[0]] = Numbers.BOOL
        kinds = [wanted[edge] for edge in node.outputs if edge in wanted]
        if node.op in _KEEPING and kinds:
            wanted |= dict.fromkeys(node.inputs[_KEEPING[node.op]], kinds[0])
    return wanted


def as_given(name: str, declared: Input, x: ArrayLike | Tensor) -> Array:
    """An input of a graph as an array of its kind.

    Raises:
        TypeError: numbers of another kind.
        ValueError: NaN or infinity among real numbers.
    """
    if isinstance(x, Tensor):
        x = x.data
    if declared.numbers is Numbers.REAL:
        return as_float32(x, name)
    if declared.numbers is Numbers.INTEGER:
        return as_int(x, name)
    array = as_data(x, name)
    if array.dtype != np.bool_:
        raise TypeError(
            f"{name} has dtype {array.dtype}; allowed are bools, which the graph takes there"
        )
    return array


def arranged(graph: Graph, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """One input for each of the graph's, of a call like the model's.

    Args:
        graph: what is called.
        args: arrays and Tensors by position, in tuples too; None is passed over.
        named: the same by keyword.

    Raises:
        TypeError: a keyword that is no input of the graph.
        ValueError: another number of inputs than the graph has.
    """
    found: dict[str, Any] = {}
    unknown: list[str] = []
    for keyword, value in named.items():
        if keyword in graph.inputs:
            found[keyword] = value
            continue
        parts = flattened(value if isinstance(value, list | tuple) else (value,))
        found |= {f"{keyword}{i}": part for i, part in enumerate(parts)}
        if any(f"{keyword}{i}" not in graph.inputs for i in range(len(parts))):
            unknown.append(keyword)
    if unknown:
        raise TypeError(
            f"{unknown[0]} is no input of the graph; allowed are {', '.join(graph.inputs)}: other "
            "arguments of the model are as they were when it was recorded"
        )
    given = flattened(args)
    check_count(graph, [*given, *found])
    places = iter(given)
    return [found[name] if name in found else next(places) for name in graph.inputs]


def flattened(given: Sequence[Any]) -> list[Any]:
    """What a graph takes of a call: tensors, those in tuples too, without None.

    A tuple of numbers is one array-like.
    """
    found: list[Any] = []
    for part in given:
        if isinstance(part, tuple) and _holds_tensors(part):
            found += flattened(part)
        elif part is not None:
            found.append(part)
    return found


def _holds_tensors(part: tuple[Any, ...]) -> bool:
    return any(
        p is None
        or isinstance(p, Tensor | np.ndarray)
        or (isinstance(p, tuple) and _holds_tensors(p))
        for p in part
    )


def check_count(graph: Graph, inputs: Sequence[Any]) -> None:
    """Raise ValueError for another number of inputs than the graph has."""
    if not isinstance(inputs, list | tuple):
        raise TypeError(
            f"inputs is {shown(inputs)}; allowed is a list, of {', '.join(graph.inputs)}"
        )
    if len(inputs) != len(graph.inputs):
        raise ValueError(f"inputs has {len(inputs)} arrays; allowed are {', '.join(graph.inputs)}")


def check_inputs(graph: Graph, inputs: Sequence[Any]) -> dict[str, Shape]:
    """The shapes of the inputs by name, if the graph can take them.

    Args:
        graph: what is to run.
        inputs: an array or Tensor for each of its inputs.

    Raises:
        ValueError: another number of inputs, or a shape that the graph was not recorded for.
    """
    check_count(graph, inputs)
    shapes = {name: tuple(x.shape) for name, x in zip(graph.inputs, inputs, strict=True)}
    free: dict[str, tuple[int, str]] = {}
    declared = [graph.declared[name].shape or () for name in graph.inputs]
    fixed = [n for lengths in declared for n in lengths if isinstance(n, int)]
    for name, shape in shapes.items():
        wanted = graph.declared[name].shape
        if wanted is not None:
            _check_shape(name, shape, wanted, free, fixed)
    return shapes


def _check_shape(
    name: str,
    shape: Shape,
    wanted: tuple[int | str, ...],
    free: dict[str, tuple[int, str]],
    fixed: Sequence[int],
) -> None:
    """Raise ValueError for a wrong length.

    Args:
        name: of the input.
        shape: that came.
        wanted: as declared.
        free: collects what each name has stood for.
        fixed: the fixed lengths of all inputs.
    """
    if len(shape) != len(wanted):
        raise ValueError(f"{name} has shape {shape}; allowed is {_shown(wanted)}")
    for axis, (n, need) in enumerate(zip(shape, wanted, strict=True)):
        place = f"axis {axis} of {name}"
        if isinstance(need, int) and n != need:
            tied = ", or on another axis as long" if fixed.count(need) > 1 else ""
            apart = ", or with lengths that all differ" if tied else ""
            raise ValueError(
                f"{name} has shape {shape}; allowed is {_shown(wanted)}: the graph was recorded "
                f"with {need} along axis {axis}, and depends on it{tied}; record the model with "
                f"such an input{apart}"
            )
        if isinstance(need, str):
            known, where = free.setdefault(need, (n, place))
            if known != n:
                raise ValueError(
                    f"{name} has shape {shape}; allowed for {place} is {known}, as {where} is"
                )


def _shown(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def resolved(node: Node, sizes: Mapping[str, Shape]) -> Node:
    """The node with numbers where its attributes have a Size.

    Args:
        node: of a graph.
        sizes: the shapes of the graph's inputs, from `check_inputs`.
    """
    found = {
        name: tuple(n.of(sizes) if isinstance(n, Size) else n for n in value)
        for name, value in node.attributes.items()
        if isinstance(value, tuple) and any(isinstance(n, Size) for n in value)
    }
    return node.having(**found) if found else node
