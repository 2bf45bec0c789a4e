"""Sums, means and extremes over axes: forward, backward, ONNX name."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from numq.arrays import Array, FloatArray
from numq.autograd.tensor import Operand, Tensor, as_tensor, record

Axis: TypeAlias = int | tuple[int, ...] | None


def sum(a: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum over the axes, all of them by default; ONNX ReduceSum."""
    a, axes = _reduced(a, axis)

    def backward(g: FloatArray) -> tuple[FloatArray]:
        return (np.broadcast_to(_restored(g, a, axes), a.shape),)

    data = np.asarray(a.data.sum(axis=axes, keepdims=keepdims, dtype=a.dtype))
    return record("ReduceSum", (a,), data, backward, axes=axes, keepdims=int(keepdims))


def mean(a: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Mean over the axes, all of them by default; ONNX ReduceMean. ValueError if of nothing."""
    a, axes = _reduced(a, axis)
    count = math.prod(a.shape[i] for i in axes)
    if count == 0:
        raise ValueError(f"a has shape {a.shape}; the mean of no elements is undefined")

    def backward(g: FloatArray) -> tuple[FloatArray]:
        return (np.broadcast_to(_restored(g, a, axes) / a.dtype.type(count), a.shape),)

    data = np.asarray(a.data.mean(axis=axes, keepdims=keepdims, dtype=a.dtype))
    return record("ReduceMean", (a,), data, backward, axes=axes, keepdims=int(keepdims))


def max(a: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Largest over the axes; equal ones share the gradient evenly; ONNX ReduceMax."""
    return _extreme("ReduceMax", a, axis, keepdims)


def min(a: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Smallest over the axes; equal ones share the gradient evenly; ONNX ReduceMin."""
    return _extreme("ReduceMin", a, axis, keepdims)


def _extreme(op: str, a: Operand, axis: Axis, keepdims: bool) -> Tensor:
    a, axes = _reduced(a, axis)
    if math.prod(a.shape[i] for i in axes) == 0:
        raise ValueError(f"a has shape {a.shape}; there is no extreme of no elements")
    reduce = np.max if op == "ReduceMax" else np.min
    kept = np.asarray(reduce(a.data, axis=axes, keepdims=True))

    def backward(g: FloatArray) -> tuple[FloatArray]:
        ties = (a.data == kept).astype(a.dtype)
        return (_restored(g, a, axes) * ties / ties.sum(axis=axes, keepdims=True),)

    data = kept if keepdims else kept.squeeze(axes)
    return record(op, (a,), data, backward, axes=axes, keepdims=int(keepdims))


def argmax(a: Operand, axis: int = -1) -> Tensor:
    """Index of the first largest along an axis, int64; no gradient; ONNX ArgMax."""
    a, (axis,) = _reduced(a, axis)
    data = np.asarray(a.data.argmax(axis=axis))
    return record("ArgMax", (a,), data, None, axis=axis, keepdims=0)


def _reduced(a: Operand, axis: Axis) -> tuple[Tensor, tuple[int, ...]]:
    """The tensor, and the axes as non-negative numbers; ValueError names one that it lacks."""
    a = as_tensor(a)
    given = range(a.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = tuple(sorted({i % a.ndim for i in given if -a.ndim <= i < a.ndim}))
    if len(axes) != len(tuple(given)):
        raise ValueError(f"axis is {axis}; a tensor of shape {a.shape} has {a.ndim} axes")
    return a, axes


def _restored(g: Array, a: Tensor, axes: tuple[int, ...]) -> Array:
    """The gradient with the reduced axes back, of length 1."""
    return g.reshape([1 if i in axes else n for i, n in enumerate(a.shape)])
