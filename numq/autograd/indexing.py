"""Parts of a tensor: slices, rows by number, elements by several numbers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from numq.arguments import integer, shown
from numq.arrays import Array, FloatArray, IntArray
from numq.autograd.shaping import broadcast_to, squeeze, stack, unsqueeze
from numq.autograd.tensor import Operand, Tensor, as_tensor, record

Key: TypeAlias = int | slice | Tensor | None
Range: TypeAlias = tuple[int, int, int]
LAST = 2**63 - 1  #: ONNX's end of an axis of any length


def index(a: Operand, key: Any) -> Tensor:
    """`a[key]` as NumPy means it: integers, slices, `...`, None, arrays of integers.

    Slices, integers and None become ONNX Slice, Squeeze and Unsqueeze; one array of integers
    becomes Gather, after the slices beside it; an array for each of the first axes, GatherND.

    Raises:
        TypeError: a mask of bools, whose result has no fixed shape (`where` keeps the shape); a
            number that is no integer; an integer beside an array.
        IndexError: an index out of range, or too many of them.
    """
    a = as_tensor(a, name="a")
    keys = _completed(a, list(key) if isinstance(key, tuple) else [key])
    arrays = [k for k in keys if isinstance(k, Tensor)]
    if len(arrays) > 1:
        if keys[: len(arrays)] != arrays or any(k != slice(None) for k in keys[len(arrays) :]):
            raise TypeError(
                f"key is {key!r}; allowed are several arrays if they are first, with `:` behind "
                "them"
            )
        return gather_nd(a, arrays)
    if arrays and any(isinstance(k, int) for k in keys):
        raise TypeError(
            f"key is {key!r}; allowed are integers before an array in a step of their own, "
            "a[0][:, ids]"
        )
    y = _by_slices(a, [slice(None) if isinstance(k, Tensor) else k for k in keys])
    return gather(y, arrays[0], axis=keys.index(arrays[0])) if arrays else y


def _completed(a: Tensor, keys: list[Any]) -> list[Key]:
    """One key for every axis, and None for new ones; `...` written out."""
    gaps = [i for i, k in enumerate(keys) if k is Ellipsis]
    given = sum(k is not None and k is not Ellipsis for k in keys)
    if given > a.ndim:
        raise IndexError(
            f"key has {given} indices; allowed are up to {a.ndim} for a tensor of shape {a.shape}"
        )
    if len(gaps) > 1:
        raise IndexError("key has more than one `...`; allowed is one")
    at = gaps[0] if gaps else len(keys)
    keys = [*keys[:at], *[slice(None)] * (a.ndim - given), *keys[at + 1 :]]
    return [_checked(k) for k in keys]


def _checked(key: Any) -> Key:
    """An integer, a slice, None, or a tensor of integers; TypeError for the rest."""
    if key is None or isinstance(key, slice):
        return key
    if isinstance(key, Tensor | np.ndarray | list):
        key = _places(key)
    if isinstance(key, bool | np.bool_) or (isinstance(key, Tensor) and key.dtype == np.bool_):
        raise TypeError(
            "key is a mask of bools, whose result has no fixed shape; allowed is where(mask, a, b)"
        )
    if isinstance(key, Tensor):
        return key
    try:
        return operator.index(key)
    except TypeError:
        raise TypeError(f"key has {shown(key)}; allowed are integers, slices, ..., None") from None


def _by_slices(a: Tensor, keys: list[int | slice | None]) -> Tensor:
    """Slice, then drop the axes that have an integer, then add new ones."""
    own = [k for k in keys if k is not None]
    cut = [
        (i, *_range(k, n, i))
        for i, (k, n) in enumerate(zip(own, a.shape, strict=True))
        if k != slice(None)
    ]
    y = a
    if cut:
        axes, starts, ends, steps = (tuple(c[i] for c in cut) for i in range(4))
        y = slice_axes(a, axes, starts, ends, steps)
    gone = tuple(i for i, k in enumerate(own) if isinstance(k, int))
    y = squeeze(y, gone) if gone else y
    new = tuple(i for i, k in enumerate(k for k in keys if not isinstance(k, int)) if k is None)
    return unsqueeze(y, new) if new else y


def _range(key: int | slice, n: int, axis: int) -> Range:
    """Start, end and step as they were written: −1 is the last of however many there will be."""
    if isinstance(key, slice):
        try:
            key.indices(n)
        except (TypeError, ValueError) as error:  # of a float, or a step of 0
            raise type(error)(f"key has {key}; allowed are integers, the step not 0") from None
        step = 1 if key.step is None else operator.index(key.step)
        start = (0 if step > 0 else LAST) if key.start is None else operator.index(key.start)
        end = (LAST if step > 0 else -LAST) if key.stop is None else operator.index(key.stop)
        return start, end, step
    if not -n <= key < n:
        raise IndexError(
            f"index {key} is outside axis {axis}, of length {n}; allowed are {-n} to {n - 1}"
        )
    return key, LAST if key == -1 else key + 1, 1


def slice_axes(
    a: Tensor,
    axes: Sequence[int],
    starts: Sequence[int],
    ends: Sequence[int],
    steps: Sequence[int],
) -> Tensor:
    """The axes named from start to end by step, as Python's slices count them; ONNX Slice.

    Starts and ends below 0 count from the back, those beyond an axis end with it. With a negative
    step, an end far below 0 takes the first element too.

    Raises:
        ValueError: an axis that `a` lacks, or that comes twice.
    """
    if len({i % a.ndim for i in axes if -a.ndim <= i < a.ndim}) != len(axes):
        raise ValueError(
            f"axes is {axes}; allowed are {-a.ndim} to {a.ndim - 1} for a tensor of shape {a.shape}"
        )
    key = [slice(None)] * a.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        key[axis] = _slice(range(a.shape[axis])[start:end:step])
    cut = tuple(key)

    def backward(g: FloatArray) -> tuple[FloatArray]:
        whole = np.zeros(a.shape, g.dtype)
        whole[cut] = g
        return (whole,)

    return record(
        "Slice", (a,), a.data[cut], backward,
        axes=tuple(axes), starts=tuple(starts), ends=tuple(ends), steps=tuple(steps),
    )  # fmt: skip


def _slice(chosen: range) -> slice:
    """The slice that takes these elements."""
    if not chosen:
        return slice(0, 0)
    return slice(chosen.start, None if chosen.stop < 0 else chosen.stop, chosen.step)


def gather(a: Operand, indices: Operand, axis: int = 0) -> Tensor:
    """The slices of `a` with these numbers along an axis; ONNX Gather.

    Args:
        a: (..., n, ...).
        indices: integers in [−n, n), any shape, which takes the place of the axis. A number that
            comes twice collects both gradients.
        axis: of `a`.

    Raises:
        TypeError: indices that are not integers.
        ValueError: an axis that `a` lacks.
        IndexError: an index out of range.
    """
    a, places, axis = as_tensor(a, name="a"), _places(indices), integer(axis, "axis")
    if not -a.ndim <= axis < a.ndim:
        raise ValueError(
            f"axis is {axis}; allowed are {-a.ndim} to {a.ndim - 1} for a tensor of shape {a.shape}"
        )
    _check_indices(places, a.shape[axis])
    numbers = places.data.astype(np.int64, copy=False)  # of uint64, NumPy takes none

    def backward(g: FloatArray) -> tuple[FloatArray, None]:
        return _collected(g, np.take(_numbers(a), numbers, axis=axis), a), None

    data = np.take(a.data, numbers, axis=axis)
    return record("Gather", (a, places), data, backward, axis=axis)


def gather_nd(a: Tensor, arrays: Sequence[Tensor]) -> Tensor:
    """Elements (or slices) by one array of integers for each of the first axes; ONNX GatherND."""
    if len(arrays) > a.ndim:
        raise IndexError(
            f"key has {len(arrays)} arrays; allowed are up to {a.ndim} for a tensor of shape "
            f"{a.shape}"
        )
    for axis, places in enumerate(arrays):
        _check_indices(places, a.shape[axis])
    try:
        shape = np.broadcast_shapes(*(p.shape for p in arrays))
    except ValueError:
        shapes = ", ".join(str(p.shape) for p in arrays)
        raise IndexError(
            f"key has arrays of shapes {shapes}; allowed are shapes that broadcast"
        ) from None
    # By operations, so that a recorded network computes its indices anew.
    places = stack([p if p.shape == shape else broadcast_to(p, shape) for p in arrays], axis=-1)
    key = tuple(np.moveaxis(places.data, -1, 0))

    def backward(g: FloatArray) -> tuple[FloatArray, None]:
        return _collected(g, _numbers(a)[key], a), None

    return record("GatherND", (a, places), a.data[key], backward)


def _numbers(a: Tensor) -> IntArray:
    """Every element's place in memory order."""
    return np.arange(a.size).reshape(a.shape)


def _collected(g: FloatArray, came_from: IntArray, a: Tensor) -> FloatArray:
    """For each element of `a` the sum, in float64, of the gradients of its copies."""
    sums: Array = np.bincount(came_from.reshape(-1), g.reshape(-1), minlength=a.size)
    return sums.reshape(a.shape)


def _places(indices: Operand) -> Tensor:
    """Indices as a Tensor; a list of nothing, which is float64 in NumPy, are integers too."""
    places = as_tensor(indices, name="indices")
    empty = isinstance(indices, list) and not places.size
    return Tensor(places.data.astype(np.int64)) if empty else places


def _check_indices(indices: Tensor, n: int) -> None:
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices has dtype {indices.dtype}; allowed are integers")
    if indices.size and not -n <= int(indices.data.min()) <= int(indices.data.max()) < n:
        low, high = indices.data.min(), indices.data.max()
        raise IndexError(f"indices has values from {low} to {high}; allowed is [{-n}, {n})")
