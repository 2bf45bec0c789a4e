"""Which lengths of a recorded network are free: found by recording it again with others.

A recording is of one set of shapes. It is made again at three other lengths of an axis, watched
(`numq.autograd.watching`), and the axis is *fixed* unless all of this holds:

- there are the same nodes and constants: no loop was unrolled, no mask built, no number computed
  from the length;
- whatever Python's code asked about lengths has one answer for every length from 0 on. A branch on
  `x.shape[0] <= 16`, `range(0, x.shape[0], 16)` and `x.shape[0] // 2` have not, wherever they would
  change; `x.shape[0] == y.shape[0]` has, of lengths that go together;
- attributes differ only where lengths stand in them. Those are rewritten so that one graph is right
  for all recordings, and so for all lengths, as what can be computed with a Length is linear:

    Reshape to (8, 64), (9, 64)     0 keeps the input's length, −1 is what is left
    Expand to (8, 64), (9, 64)      1 keeps the input's length
    x[:, :8], x[:, :9]              `Size`, a multiple of an input's length plus a constant

An edge may be *bent*: a Slice, or a stride, gave it a length that is not linear in the input's
(`numq.graph.bends`). If anybody but `numq.autograd` asks for its shape, the axis is fixed.

numq's own functions get plain numbers: what they do with them stands in nodes and constants. Not
seen is what code learns of a length without asking a tensor, from its caller or a global variable.
The graph checks every run against what was found, so it is right on other lengths, or refuses them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from numq.autograd.watching import Question
from numq.graph.bends import bent_edges
from numq.graph.graph import Constant, Graph, Node
from numq.graph.inputs import Input, Shape
from numq.graph.schema import Size
from numq.qtensor import QTensor

Place: TypeAlias = tuple[int, int]
"""Number of the input, and axis."""

Axes: TypeAlias = tuple[Place, ...]
"""Places that have one length together."""


@dataclass(frozen=True, eq=False)
class Watched:
    """A recording that was watched.

    Attributes:
        graph: with shapes of all its edges.
        questions: what code asked about lengths.
        asked: the edges whose lengths it asked for, "" for results that are not in the graph.
    """

    graph: Graph
    questions: tuple[Question, ...] = ()
    asked: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class _Recording:
    shapes: tuple[Shape, ...]
    graph: Graph
    watched: Watched | None = None


Again: TypeAlias = Callable[[Sequence[Shape]], Watched]

_ENDLESS = 2**62
"""Beyond any length."""


def with_free_lengths(graph: Graph, again: Again) -> Graph:
    """The graph with names for the lengths that are free, and numbers for the others.

    Args:
        graph: a recording, whose declared inputs have the shapes that came.
        again: records once more with other shapes, watched; whatever it raises makes an axis fixed.
    """
    shapes = [graph.declared[name].shape or () for name in graph.inputs]  # numbers, as they came
    first = _Recording(tuple(tuple(n for n in s if isinstance(n, int)) for s in shapes), graph)
    batch = _batch(first.shapes)
    tried = _tried(first, batch, again) if batch else []
    if tried and _general([first, *tried], [batch]):
        kept, free = _found(first, tried[0], again, tried if len(batch) == 1 else [], batch)
        if set(batch) <= {place for axes in free for place in axes}:
            return _joined(kept, free, again)
    return _joined(*_found(first, first, again, [], ()), again)


def _batch(shapes: Sequence[Shape]) -> Axes:
    """The first axes, of the inputs that have one of the length of the first input."""
    lengths = {i: shape[0] for i, shape in enumerate(shapes) if shape}
    return tuple((i, 0) for i, n in lengths.items() if n == next(iter(lengths.values())))


def _found(
    first: _Recording, base: _Recording, again: Again, known: list[_Recording], batch: Axes
) -> tuple[list[_Recording], list[Axes]]:
    """Recordings, and the axes free in them.

    Args:
        first: the recording at the full size.
        base: one of few rows, from which the others differ: only shapes matter, and it is quick.
        again: as in `with_free_lengths`.
        known: recordings in which `batch` is free, if it needs no more.
        batch: axes that base has shorter than first.
    """
    kept = [first, *known] if known else list(dict.fromkeys((first, base)))
    free = [batch] if known else list[Axes]()
    for candidate in _candidates(first.shapes):
        axes = tuple(place for place in candidate if not any(place in group for group in free))
        if not axes or (len(axes) == 1 < len(candidate)):  # alone it was tried
            continue
        tried = _tried(base, axes, again)
        group = [*free, axes] if set(batch) <= set().union(*free, axes) else [*free, axes, batch]
        if tried and _general([*kept, *tried], group):
            kept, free = [*kept, *tried], [*free, axes]
    return kept, free


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
    """Recordings at three other lengths; none if it does not run at them.

    A batch may be recorded smaller, which is quicker; elsewhere longer, as a picture may be too
    small for a window; shorter if a table of positions ends.
    """
    n = _length(base, axes)
    several = [(n + 1, n + 2, n + 4)]
    if n > 3:
        several.append((n - 1, n - 2, n - 3))
    if axes[0][1] == 0:
        first, second, third = [k for k in (2, 3, 5, 6) if k != n][:3]
        several.insert(0, (first, second, third))
    for lengths in several:
        made = []
        for length in lengths:
            if (recording := _at(base, axes, length, again)) is None:
                break
            made.append(recording)
        else:
            return made
    return []


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
            watched = again(made)
        except Exception:  # the model's own code, which may raise anything
            return None
    return _Recording(made, watched.graph, watched)


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
    if not all(_alike(first, r.graph) for r in recordings[1:]) or not _answered(recordings, free):
        return None
    nodes = []
    for i in range(len(first.nodes)):
        node = _described(i, recordings, free)
        if node is None:
            return None
        nodes.append(node)
    return replace(first, nodes=tuple(nodes), declared=_declared(recordings[0], free))


def _answered(recordings: Sequence[_Recording], free: Sequence[Axes]) -> bool:
    """Whether all that was asked about lengths has one answer at all of them."""
    watched = [r for r in recordings if r.watched]
    asked = [r.watched.questions for r in watched if r.watched]
    if len({len(questions) for questions in asked}) > 1:
        return False
    bent = bent_edges([r.graph for r in recordings])
    if any((bent | {""}) & r.watched.asked for r in watched if r.watched):
        return False
    return all(_one_answer(same, watched, free) for same in zip(*asked, strict=True))


def _one_answer(
    same: Sequence[Question], watched: Sequence[_Recording], free: Sequence[Axes]
) -> bool:
    """Whether a question, as it was asked in each recording, has one answer at all lengths."""
    compare = same[0].compare
    if any(q.compare is not compare for q in same):
        return False
    if len({q.numbers for q in same}) == 1:
        return True
    if compare is None:
        return False
    differences = [q.numbers[0] - q.numbers[1] for q in same]
    if len(set(differences)) == 1:
        return True
    size = _size(differences, watched, free)
    if size is None:
        return False
    if compare in (operator.eq, operator.ne):  # they meet at no length, or at one
        return size.plus % size.times != 0 or -size.plus // size.times < 0
    return compare(size.plus, 0) == compare(size.times * _ENDLESS + size.plus, 0)


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
