"""The same elements in other places: forward, backward, ONNX name.

Shapes and axes are integers, Python's or NumPy's; anything else raises TypeError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from numq.arguments import integer, integers, shown
from numq.arrays import FloatArray
from numq.autograd.broadcasting import unbroadcast
from numq.autograd.operands import check_alike, constant
from numq.autograd.tensor import Operand, Tensor, as_tensor, record

Shape = tuple[int, ...]


def reshape(a: Operand, shape: Sequence[int]) -> Tensor:
    """The same elements in another shape; one length may be −1; ONNX Reshape.

    A recorded network follows the lengths of its inputs where the recording shows that they stand
    in `shape` (see `numq.graph.lengths`); −1 says so by itself.

    Raises:
        ValueError: another number of elements, or more than one −1.
    """
    a, shape = as_tensor(a, name="a"), integers(shape, "shape", -1)
    try:
        data = a.data.reshape(shape)
    except ValueError:
        raise ValueError(
            f"shape is {shape}; allowed are those that a tensor of shape {a.shape} fits"
        ) from None
    zeros = {"allowzero": 1} if 0 in shape else {}  # to ONNX a 0 is else the input's length
    return record("Reshape", (a,), data, lambda g: (g.reshape(a.shape),), shape=shape, **zeros)


def flatten(a: Operand, axis: int = 1) -> Tensor:
    """A matrix: the axes before `axis` as rows, the others as columns; ONNX Flatten."""
    a, axis = as_tensor(a, name="a"), integer(axis, "axis")
    if not 0 <= axis <= a.ndim:
        raise ValueError(
            f"axis is {axis}; allowed are 0 to {a.ndim} for a tensor of shape {a.shape}"
        )
    data = a.data.reshape(math.prod(a.shape[:axis]), math.prod(a.shape[axis:]))
    return record("Flatten", (a,), data, lambda g: (g.reshape(a.shape),), axis=axis)


def transpose(a: Operand, axes: Sequence[int] | None = None) -> Tensor:
    """Axes in another order, by default the last two exchanged; ONNX Transpose.

    Raises:
        ValueError: axes that are not all of `a`, each once, from 0; fewer than two by default.
    """
    a = as_tensor(a, name="a")
    if axes is None:
        axes = (*range(a.ndim - 2), a.ndim - 1, a.ndim - 2)
    perm = integers(axes, "axes")
    if sorted(perm) != [*range(a.ndim)]:
        raise ValueError(
            f"axes is {perm}; allowed is each axis of a tensor of shape {a.shape} once"
        )
    back = tuple(sorted(perm, key=perm.__getitem__))
    data = a.data.transpose(perm)
    return record("Transpose", (a,), data, lambda g: (g.transpose(back),), perm=perm)


def unsqueeze(a: Operand, axes: Sequence[int]) -> Tensor:
    """New axes of length 1 at these places of the result; ONNX Unsqueeze."""
    a, axes = as_tensor(a, name="a"), integers(axes, "axes")
    _check_axes(axes, a.ndim + len(axes), "the result")
    data = np.expand_dims(a.data, axes)
    return record("Unsqueeze", (a,), data, lambda g: (g.reshape(a.shape),), axes=axes)


def squeeze(a: Operand, axes: Sequence[int]) -> Tensor:
    """Without these axes, which have length 1; ONNX Squeeze."""
    a, axes = as_tensor(a, name="a"), integers(axes, "axes")
    _check_axes(axes, a.ndim, f"a tensor of shape {a.shape}")
    if any(a.shape[i] != 1 for i in axes):
        raise ValueError(f"axes is {axes}; allowed are those of length 1 in shape {a.shape}")
    data = a.data.squeeze(axes)
    return record("Squeeze", (a,), data, lambda g: (g.reshape(a.shape),), axes=axes)


def _check_axes(axes: Shape, ndim: int, what: str) -> None:
    """Raise ValueError for an axis that is not there, or comes twice."""
    if len({i % ndim for i in axes if -ndim <= i < ndim}) != len(axes):
        raise ValueError(f"axes is {axes}; allowed are {-ndim} to {ndim - 1} for {what}, each once")


def broadcast_to(a: Operand, shape: Sequence[int]) -> Tensor:
    """Repeated along axes of length 1; ONNX Expand. ValueError if the shapes do not fit."""
    a, shape = as_tensor(a, name="a"), integers(shape, "shape", 0)
    try:
        data = np.broadcast_to(a.data, shape)
    except ValueError:
        raise ValueError(
            f"shape is {shape}; allowed are those to which {a.shape} broadcasts"
        ) from None
    return record("Expand", (a,), data, lambda g: (unbroadcast(g, a),), shape=shape)


def concat(tensors: Sequence[Operand], axis: int) -> Tensor:
    """One after the other along an axis; ONNX Concat.

    Raises:
        TypeError: one tensor instead of several, or dtypes that have none in common.
        ValueError: no tensors, no such axis, or shapes that differ elsewhere.
    """
    parts, axis = _several(tensors), integer(axis, "axis")
    if len({p.data.dtype for p in parts}) > 1:
        check_alike(**{f"tensors[{i}]": p for i, p in enumerate(parts)})
    try:
        data = np.concatenate([p.data for p in parts], axis=axis)
    except ValueError:
        shapes = ", ".join(str(p.shape) for p in parts)
        raise ValueError(
            f"tensors have shapes {shapes}; allowed are shapes with axis {axis}, alike but for "
            "it, so that they join"
        ) from None
    ends = np.cumsum([p.shape[axis] for p in parts])[:-1]
    return record("Concat", parts, data, lambda g: np.split(g, ends, axis), axis=axis)


def stack(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """Tensors of one shape along a new axis; ONNX Unsqueeze and Concat.

    Raises:
        TypeError, ValueError: as `concat`.
    """
    parts, axis = _several(tensors), integer(axis, "axis")
    if len({p.shape for p in parts}) > 1:
        shapes = ", ".join(str(p.shape) for p in parts)
        raise ValueError(f"tensors have shapes {shapes}; allowed is one shape")
    if not -parts[0].ndim - 1 <= axis <= parts[0].ndim:
        raise ValueError(
            f"axis is {axis}; allowed are {-parts[0].ndim - 1} to {parts[0].ndim} for tensors of "
            f"shape {parts[0].shape}"
        )
    return concat([unsqueeze(t, (axis,)) for t in parts], axis)


def _several(tensors: Sequence[Operand]) -> tuple[Tensor, ...]:
    if not isinstance(tensors, tuple | list):
        raise TypeError(f"tensors is {shown(tensors)}; allowed are tuples and lists of tensors")
    if not tensors:
        raise ValueError("tensors is empty; allowed is one tensor and more")
    return tuple(
        [t if type(t) is Tensor else as_tensor(t, name=f"tensors[{i}]")
         for i, t in enumerate(tensors)]
    )  # fmt: skip


def pad(a: Operand, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """More elements around: (before, after) for each axis, all of them `value`; ONNX Pad.

    The attribute `pads` has ONNX's order, all the numbers before and then all those after.

    Raises:
        ValueError: not one pair for each axis, or a negative number.
        TypeError: a value that the dtype of `a` cannot hold.
    """
    a = as_tensor(a, name="a")
    pairs = _pairs(pads, a)
    filling = constant(value, a, "value")
    if np.isinf(filling) and not math.isinf(value):
        raise ValueError(f"value is {value}, beyond {a.dtype}; allowed is what that can hold")
    inner = tuple(slice(p, p + n) for (p, _), n in zip(pairs, a.shape, strict=True))
    shape = [n + sum(p) for n, p in zip(a.shape, pairs, strict=True)]
    data = np.full(shape, filling)
    data[inner] = a.data
    order = (*(p for p, _ in pairs), *(p for _, p in pairs))

    def backward(g: FloatArray) -> tuple[FloatArray]:
        return (g[inner],)

    return record("Pad", (a,), data, backward, pads=order, mode="constant", value=float(value))


def _pairs(pads: Sequence[tuple[int, int]], a: Tensor) -> list[Shape]:
    try:
        pairs = [integers(p, "pads", 0, 2) for p in pads]
    except (TypeError, ValueError):
        pairs = []
    if len(pairs) != a.ndim or len(pads) != a.ndim:
        raise ValueError(
            f"pads is {shown(pads)}; allowed are {a.ndim} pairs of integers, none negative, for a "
            f"tensor of shape {a.shape}"
        )
    return pairs
