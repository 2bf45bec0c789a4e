"""Whether a recording does what its model does, on other values than those it was made with.

A recording holds operators and constants. What Python computes from values (a branch on a mean, a
scale `1 / float(max)`, a random number, a state) is a constant in it, and right for one input only.
So model and recording are run side by side. They compute the same operators in the same order, in
float32 mostly bit for bit; allowed are 2¹⁰ of float32's roundings of the largest value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from numq.arrays import Array
from numq.autograd import Tensor, no_grad
from numq.graph import Graph, Program, run
from numq.graph.inputs import Numbers
from numq.graph.trace import evaluating, flat, remembering
from numq.nn import Module
from numq.nn.call import Call

_ROWS = 4
"""Of each batch, where its axis is free."""

_BOUND = 2.0**-13


def check_values(model: Module, graph: Graph, call: Call, where: str) -> None:
    """Run both on some rows of a call.

    Args:
        model: in whatever mode; left as it was.
        graph: its recording.
        call: Tensors, in the places of the graph's inputs.
        where: what the values are called.

    Raises:
        ValueError: they differ. A call that one of them refuses says nothing.
    """
    arrays = _few(graph, [t.data for _, t in call.tensors()])
    given = iter([Tensor.of(x) for x in arrays])
    fresh = call.mapped(lambda _: next(given))
    try:
        with np.errstate(all="ignore"), evaluating(model), remembering(model), no_grad():
            wanted = [t.data for t in flat(model(*fresh.args, **fresh.kwargs))]
            got = run(Program(graph), arrays)
    except Exception:  # the model's own code, which may raise anything
        return
    for name, a, b in zip(graph.outputs, wanted, got, strict=True):
        _compare(name, a, b, where)


def other_values(graph: Graph, call: Call) -> Call:
    """The call with numbers of the other sign, smaller, and in another order; indices reordered.

    Masks are the same, as they may have to allow something.
    """
    kinds = iter([graph.declared[name].numbers for name in graph.inputs])
    return call.mapped(lambda t: Tensor.of(_other(t.data, next(kinds))))


def _other(x: Array, numbers: Numbers) -> Array:
    if x.dtype.kind == "b":
        return x
    turned = np.ascontiguousarray(x.ravel()[::-1].reshape(x.shape))
    if x.dtype.kind != "f" or numbers is not Numbers.REAL:
        return turned
    if not x.any():  # a call that was remembered without its values
        return np.cos(np.arange(x.size)).reshape(x.shape).astype(x.dtype)
    return turned * x.dtype.type(-0.75)


def _few(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """A few of the rows along the first axis of the first input, if that is free; float32."""
    arrays = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in arrays]
    shapes = [graph.declared[name].shape or () for name in graph.inputs]
    batch = shapes[0][0] if shapes[0] and isinstance(shapes[0][0], str) else None
    return [
        x[tuple(slice(_ROWS) if name == batch else slice(None) for name in shape)]
        for x, shape in zip(arrays, shapes, strict=True)
    ]


def _compare(name: str, wanted: Array, got: Array, where: str) -> None:
    if wanted.shape != got.shape:
        raise ValueError(
            f"{where}: {name} has shape {wanted.shape} in the model, {got.shape} in its "
            "recording; allowed is the same for both: the model computes something from the "
            "values of its input, which is not recorded"
        )
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
    reach = np.abs(a, where=np.isfinite(a), out=np.zeros_like(a)).max(initial=0.0)
    worst = apart.max(initial=0.0)
    if not worst <= _BOUND * reach:
        raise ValueError(
            f"{where}: {name} has other values in the model than in its recording, {worst:.3g} of "
            f"{reach:.3g} apart; allowed are the same: the model computes something from the "
            "values of its input, from chance or from a state, which is not recorded"
        )
