"""Which lengths of a recorded network are free: found by recording it again with others.

A recording is of one set of shapes. Recorded again with an axis longer, it has the same nodes and
constants, or the axis is *fixed*: a loop was unrolled, a mask built, a branch taken, a number
computed from the length. Attributes may differ where the lengths of an axis stand in them. Those
are rewritten so that one graph is right for all recordings:

    Reshape to (8, 64), (9, 64)     0 keeps the input's length, −1 is what is left
    Expand to (8, 64), (9, 64)      1 keeps the input's length
    x[:, :8], x[:, :9]              `Size`, a multiple of an input's length plus a constant

and an attribute that nothing of this describes makes the axis fixed. The graph checks every run
against what was found, so it is right on other lengths, or it refuses them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from numq.graph.graph import Constant, Graph, Node
from numq.graph.inputs import Input, Shape
from numq.graph.schema import Size
from numq.qtensor import QTensor

Place: TypeAlias = tuple[int, int]
"""Number of the input, and axis."""

Axes: TypeAlias = tuple[Place, ...]
"""Places that have one length together."""

_SMALL = 2**12
"""Elements of inputs that are tried at much greater lengths, which costs little."""


@dataclass(frozen=True, eq=False)
class _Recording:
    shapes: tuple[Shape, ...]
    graph: Graph


Again: TypeAlias = Callable[[Sequence[Shape]], Graph]


def with_free_lengths(graph: Graph, again: Again) -> Graph:
    """The graph with names for the lengths that are free, and numbers for the others.

    Args:
        graph: a recording, whose declared inputs have the shapes that came.
        again: records once more with other shapes; whatever it raises makes an axis fixed.
    """
    first = _Recording(tuple(graph.shapes[name] for name in graph.inputs), graph)
    kept, base, free = [first], first, list[Axes]()
    for candidate in _candidates(first.shapes):
        axes = tuple(place for place in candidate if not any(place in group for group in free))
        if not axes or (len(axes) == 1 < len(candidate)):  # alone it was tried
            continue
        tried = _tried(base, axes, again)
        if tried and _general([*kept, *tried], [*free, axes]):
            tried += _far(base, axes, again)
        if tried and _general([*kept, *tried], [*free, axes]):
            kept, free = [*kept, *tried], [*free, axes]
            base = min((base, *tried), key=lambda r: _length(r, axes))
    return _joined(kept, free, again)


def _candidates(shapes: Sequence[Shape]) -> Iterator[Axes]:
    """Each axis alone, the first ones first; then those of one place, then those of one length."""
    places = [(i, axis) for i, shape in enumerate(shapes) for axis in range(len(shape))]
    places.sort(key=lambda place: (place[1], place[0]))
    yield from ((place,) for place in places)
    for same in (lambda p: (p[1], shapes[p[0]][p[1]]), lambda p: shapes[p[0]][p[1]]):
        groups: dict[object, list[Place]] = {}
        for place in places:
            groups.setdefault(same(place), []).append(place)
        yield from (tuple(group) for group in groups.values() if len(group) > 1)


def _tried(base: _Recording, axes: Axes, again: Again) -> list[_Recording]:
    """Recordings at two other lengths; none if it runs at no others.

    A batch may be recorded smaller, which is quicker; elsewhere longer, as a picture may be too
    small for a window; shorter if a table of positions ends.
    """
    n = _length(base, axes)
    pairs = [(n + 1, n + 3), (n - 1, n - 2)] if n > 2 else [(n + 1, n + 3)]
    if axes[0][1] == 0 and n > 6:
        pairs.insert(0, (3, 5))
    for pair in pairs:
        one = _at(base, axes, pair[0], again)
        two = _at(base, axes, pair[1], again) if one else None
        if one and two:
            return [one, two]
    return []


def _far(base: _Recording, axes: Axes, again: Again) -> list[_Recording]:
    """Recordings below and, of small inputs, far beyond: where a model might branch.

    Those at which it does not run at all say nothing.
    """
    n = _length(base, axes)
    lengths = {1, 2, n // 2, n - 1} & {*range(1, n)}
    if sum(math.prod(shape) for shape in base.shapes) <= _SMALL:
        lengths.add(n + 64)
    made = [_at(base, axes, length, again) for length in sorted(lengths)]
    return [recording for recording in made if recording]


def _length(recording: _Recording, axes: Axes) -> int:
    i, axis = axes[0]
    return recording.shapes[i][axis]


def _at(base: _Recording, axes: Axes, length: int, again: Again) -> _Recording | None:
    """The recording with these axes at a length; None if the model does not run there."""
    shapes = [list(shape) for shape in base.shapes]
    for i, axis in axes:
        shapes[i][axis] = length
    made = tuple(tuple(shape) for shape in shapes)
    with np.errstate(all="ignore"):  # a warning would be about values that nobody gave
        try:
            return _Recording(made, again(made))
        except Exception:  # the model's own code, which may raise anything
            return None


def _joined(kept: list[_Recording], free: list[Axes], again: Again) -> Graph:
    """All that is free at other lengths at once; where that fails, the last ones are fixed."""
    while len(free) > 1:
        together: _Recording | None = kept[0]
        for axes in free:
            lengths = [_length(r, axes) for r in kept]
            other = next(n for n in lengths if n != lengths[0])
            together = together and _at(together, axes, other, again)
        if together and _general([*kept, together], free):
            break
        gone = free.pop()
        kept = [r for r in kept if _length(r, gone) == _length(kept[0], gone)]
    made = _general(kept, free)
    assert made is not None  # it was made before, for each
    return made


def _general(recordings: Sequence[_Recording], free: Sequence[Axes]) -> Graph | None:
    """One graph for all recordings, if there is one."""
    first = recordings[0].graph
    if not all(_alike(first, r.graph) for r in recordings[1:]):
        return None
    nodes = []
    for i in range(len(first.nodes)):
        node = _described(i, recordings, free)
        if node is None:
            return None
        nodes.append(node)
    return replace(first, nodes=tuple(nodes), declared=_declared(recordings[0], free))


def _alike(a: Graph, b: Graph) -> bool:
    """The same nodes and constants, attributes aside."""
    return (
        (a.inputs, a.outputs, a.constants.keys()) == (b.inputs, b.outputs, b.constants.keys())
        and [(n.op, n.name, n.inputs, n.outputs) for n in a]
        == [(n.op, n.name, n.inputs, n.outputs) for n in b]
        and all(_same(a.constants[name], b.constants[name]) for name in a.constants)
    )


def _same(a: Constant, b: Constant) -> bool:
    if a is b or isinstance(a, QTensor) or isinstance(b, QTensor):
        return a is b
    return (a.shape, a.dtype) == (b.shape, b.dtype) and a.tobytes() == b.tobytes()


def _declared(first: _Recording, free: Sequence[Axes]) -> dict[str, Input]:
    """The lengths found: names in place of the numbers of free axes."""
    graph, made = first.graph, [list[int | str](shape) for shape in first.shapes]
    for axes in free:
        (i, axis), batch = min(axes), any(axis == 0 for _, axis in axes)
        taken = any("batch" in shape for shape in made)
        name = "batch" if batch and not taken else f"{graph.inputs[i]}[{axis}]"
        for at, along in axes:
            made[at][along] = name
    return {
        name: replace(graph.declared[name], shape=tuple(shape))
        for name, shape in zip(graph.inputs, made, strict=True)
    }


def _described(i: int, recordings: Sequence[_Recording], free: Sequence[Axes]) -> Node | None:
    """The i-th node with attributes that are right in all recordings; None if there are none."""
    nodes = [r.graph.nodes[i] for r in recordings]
    changed = {}
    for name, value in nodes[0].attributes.items():
        values = [node.attributes[name] for node in nodes]
        if all(v == value for v in values):
            continue
        if not nodes[0].schema.attributes[name].sizes or len({len(v) for v in values}) > 1:
            return None
        entries = _entries(nodes[0], values, [_read(r, i) for r in recordings], recordings, free)
        if entries is None:
            return None
        changed[name] = entries
    return nodes[0].having(**changed) if changed else nodes[0]


def _read(recording: _Recording, i: int) -> Shape:
    """The shape of the first input of the i-th node."""
    name = recording.graph.nodes[i].inputs[0]
    if name in recording.graph.constants:
        return recording.graph.constants[name].shape
    return recording.graph.shapes[name]


def _entries(
    node: Node,
    values: Sequence[tuple[int, ...]],
    read: Sequence[Shape],
    recordings: Sequence[_Recording],
    free: Sequence[Axes],
) -> tuple[int | Size, ...] | None:
    """Each entry as a number, or by a rule that gives what every recording has."""
    if node.attributes.get("allowzero"):
        return None
    made: list[int | Size | None] = []
    for axis in range(len(values[0])):
        column = [v[axis] for v in values]
        if len(set(column)) == 1:
            made.append(column[0])
        elif _kept(node, column, axis, read, len(values[0])):
            made.append({"Reshape": 0, "Expand": 1}[node.op])
        else:
            made.append(_size(column, recordings, free))
    return _with_rest(made) if node.op == "Reshape" else _complete(made)


def _kept(node: Node, column: Sequence[int], axis: int, read: Sequence[Shape], ndim: int) -> bool:
    """Whether an entry of a new shape is the input's length there, in every recording."""
    if node.op == "Expand":  # shapes are held against each other from behind
        axis -= ndim - len(read[0])
    elif node.op != "Reshape":
        return False
    return axis >= 0 and all(
        axis < len(shape) and shape[axis] == n for shape, n in zip(read, column, strict=True)
    )


def _size(
    column: Sequence[int], recordings: Sequence[_Recording], free: Sequence[Axes]
) -> Size | None:
    """`times · length + plus` of one free length, if the numbers are that."""
    for axes in free:
        lengths = [_length(r, axes) for r in recordings]
        other = next((i for i, n in enumerate(lengths) if n != lengths[0]), None)
        if other is None:
            continue
        times, left = divmod(column[other] - column[0], lengths[other] - lengths[0])
        plus = column[0] - times * lengths[0]
        if not left and all(times * n + plus == v for n, v in zip(lengths, column, strict=True)):
            i, axis = axes[0]
            return Size(recordings[0].graph.inputs[i], axis, times, plus)
    return None


def _with_rest(made: Sequence[int | Size | None]) -> tuple[int | Size, ...] | None:
    """One length that varies may be what is left: −1."""
    open_places = [i for i, n in enumerate(made) if n is None or isinstance(n, Size)]
    unknown = [i for i in open_places if made[i] is None]
    if open_places and -1 not in made and len(unknown) <= 1:
        place = (unknown or open_places)[0]
        made = [*made[:place], -1, *made[place + 1 :]]
    return _complete(made)


def _complete(made: Sequence[int | Size | None]) -> tuple[int | Size, ...] | None:
    found = [n for n in made if n is not None]
    return tuple(found) if len(found) == len(made) else None
