"""Sums, means and extremes over axes: forward, backward, ONNX name.

An axis is an integer, counted from the back if it is negative; several are a tuple or list of
different ones; None stands for all. TypeError names what is no integer, ValueError what `a` lacks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from numq.arguments import flag, integer, integers
from numq.arrays import Array, FloatArray
from numq.autograd.broadcasting import total
from numq.autograd.operands import exactly, floating, silent
from numq.autograd.tensor import Operand, Tensor, as_tensor, record

Axis: TypeAlias = int | Sequence[int] | None


def sum(a: Operand, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Sum over the axes, all of them by default; ONNX ReduceSum.

    Integers and bools are summed in int64; ValueError beyond it.
    """
    a, axes = _reduced(a, axis)
    keepdims = flag(keepdims, "keepdims")

    def backward(g: FloatArray) -> tuple[FloatArray]:
        return (np.broadcast_to(_restored(g, a, axes), a.shape),)

    data = exactly(lambda x: total(x, axes, keepdims), a.data)
    return record("ReduceSum", (a,), data, backward, **_attributes(axes, keepdims))


def mean(a: Operand, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Mean over the axes, all of them by default; ONNX ReduceMean.

    Raises:
        ValueError: no elements.
        TypeError: integers.
    """
    a, axes = _reduced(floating(a), axis)
    keepdims = flag(keepdims, "keepdims")
    count = _count(a, axes, "mean")
    wide = np.result_type(a.dtype, np.float32).type  # float16 has no numbers above 65504

    def backward(g: FloatArray) -> tuple[FloatArray]:
        return (np.broadcast_to(_restored(g, a, axes) / wide(count), a.shape),)

    data = np.asarray(a.data.mean(axis=axes, keepdims=keepdims))
    return record("ReduceMean", (a,), data, backward, **_attributes(axes, keepdims))


def max(a: Operand, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Largest over the axes, NaN if one is; equal ones share the gradient; ONNX ReduceMax."""
    a, axes = _reduced(a, axis)
    _count(a, axes, "maximum")
    keepdims = flag(keepdims, "keepdims")
    return _extreme("ReduceMax", a, a.data.max(axis=axes, keepdims=True), axes, keepdims)


def min(a: Operand, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Smallest over the axes, NaN if one is; equal ones share the gradient; ONNX ReduceMin."""
    a, axes = _reduced(a, axis)
    _count(a, axes, "minimum")
    keepdims = flag(keepdims, "keepdims")
    return _extreme("ReduceMin", a, a.data.min(axis=axes, keepdims=True), axes, keepdims)


def _extreme(op: str, a: Tensor, kept: Array, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    """Of `k` equal extremes each gets 1/k of the gradient; a NaN, equal to nothing, makes it NaN.

    Args:
        op: ONNX name.
        a: the values.
        kept: the extremes, the reduced axes still there.
        axes: that were reduced.
        keepdims: whether they stay.
    """

    @silent
    def backward(g: FloatArray) -> tuple[FloatArray]:
        ties = a.data == kept
        count = ties.sum(axis=axes, keepdims=True).astype(np.result_type(g, np.float32))
        return (np.where(ties, _restored(g, a, axes), 0) / count,)

    data = kept if keepdims else kept.squeeze(axes)
    return record(op, (a,), data, backward, **_attributes(axes, keepdims))


def _attributes(axes: tuple[int, ...], keepdims: bool) -> dict[str, Any]:
    """ONNX reduces all axes where none are named, unless told not to."""
    noop = {} if axes else {"noop_with_empty_axes": 1}
    return {"axes": axes, "keepdims": int(keepdims), **noop}


def argmax(a: Operand, axis: int = -1) -> Tensor:
    """Index of the first largest along one axis, int64, of the first NaN if there is one.

    ONNX ArgMax; no gradient passes.
    """
    a, (axis,) = _reduced(a, (axis,))
    _count(a, (axis,), "maximum")
    return record("ArgMax", (a,), np.asarray(a.data.argmax(axis=axis)), None, axis=axis, keepdims=0)


def _reduced(a: Operand, axis: Axis) -> tuple[Tensor, tuple[int, ...]]:
    """The tensor, and the axes as rising numbers from 0; ValueError names one that it lacks."""
    a = as_tensor(a, name="a")
    if axis is None:
        return a, tuple(range(a.ndim))
    several = isinstance(axis, tuple | list)
    given = integers(axis, "axis") if several else (integer(axis, "axis"),)
    axes = {i % a.ndim for i in given if -a.ndim <= i < a.ndim}
    if len(axes) != len(given):
        raise ValueError(
            f"axis is {(given if several else given[0])}; allowed are different axes from "
            f"{-a.ndim} to {a.ndim - 1}, for a of shape {a.shape}"
        )
    return a, tuple(sorted(axes))


def _count(a: Tensor, axes: tuple[int, ...], name: str) -> int:
    """How many elements are reduced to one; ValueError if none."""
    count = math.prod(a.shape[i] for i in axes)
    if count == 0:
        raise ValueError(
            f"a has shape {a.shape}; allowed are shapes with elements, as the {name} of no "
            "elements is undefined"
        )
    return count


def _restored(g: Array, a: Tensor, axes: tuple[int, ...]) -> Array:
    """The gradient with the reduced axes back, of length 1."""
    return g.reshape([1 if i in axes else n for i, n in enumerate(a.shape)])
