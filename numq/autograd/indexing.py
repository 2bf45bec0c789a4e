"""Parts of a tensor: slices, rows by number, elements by several numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from numq.arrays import FloatArray
from numq.autograd.shaping import squeeze, unsqueeze
from numq.autograd.tensor import Operand, Tensor, as_tensor, record


def index(a: Operand, key: Any) -> Tensor:
    """`a[key]`, NumPy's meaning: integers, slices, `...`, None, arrays of integers.

    Slices, integers and None become ONNX Slice, Squeeze and Unsqueeze; one array of integers (with
    nothing but `:` beside it) becomes Gather; an array for each of the first axes, GatherND.

    Raises:
        TypeError: a mask of bools, whose result has no fixed shape; `where` keeps the shape.
        IndexError: an index out of range, or too many of them.
    """
    a = as_tensor(a)
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(_is_array(k) for k in keys):
        return _by_arrays(a, [k if isinstance(k, Tensor | slice) else _plain(k) for k in keys])
    given = sum(k is not None and k is not Ellipsis for k in keys)
    if given > a.ndim:
        raise IndexError(f"key has {given} indices; a tensor of shape {a.shape} has {a.ndim} axes")
    whole: list[Any] = [slice(None)] * (a.ndim - given)
    if not any(k is Ellipsis for k in keys):
        keys.append(Ellipsis)
    at = next(i for i, k in enumerate(keys) if k is Ellipsis)
    keys[at : at + 1] = whole
    return _by_slices(a, keys)


def _is_array(key: object) -> bool:
    return (
        isinstance(key, Tensor | np.ndarray | list)
        and np.ndim(key.data if isinstance(key, Tensor) else key) > 0
    )


def _plain(key: Any) -> Any:
    return as_tensor(key) if isinstance(key, np.ndarray | list) else key


def _by_slices(a: Tensor, keys: list[Any]) -> Tensor:
    """One key for every axis of `a`, and None for new ones."""
    own = [k for k in keys if k is not None]
    ranges = []
    for axis, (k, n) in enumerate(zip(own, a.shape, strict=True)):
        if not isinstance(k, slice):
            i = int(k)
            if not -n <= i < n:
                raise IndexError(f"index {i} is outside axis {axis} of shape {a.shape}")
            k = slice(i % n, i % n + 1)
        ranges.append(k.indices(n))
    y = (
        slice_axes(a, ranges)
        if any(r != (0, n, 1) for r, n in zip(ranges, a.shape, strict=True))
        else a
    )
    gone = tuple(i for i, k in enumerate(own) if not isinstance(k, slice))
    y = squeeze(y, gone) if gone else y
    left = [k for k in keys if k is None or isinstance(k, slice)]
    new = tuple(i for i, k in enumerate(left) if k is None)
    return unsqueeze(y, new) if new else y


def slice_axes(a: Tensor, ranges: list[tuple[int, int, int]]) -> Tensor:
    """Every axis from start to end by step, as `range` counts; ONNX Slice."""
    key = tuple(slice(start, None if end < 0 else end, step) for start, end, step in ranges)

    def backward(g: FloatArray) -> tuple[FloatArray]:
        whole = np.zeros(a.shape, g.dtype)
        whole[key] = g
        return (whole,)

    # Only the axes that are cut: a batch of another length is then cut alike. ONNX counts negative
    # ends from the back; one that lies before the start is the lowest integer.
    cut = [(i, *r) for i, (r, n) in enumerate(zip(ranges, a.shape, strict=True)) if r != (0, n, 1)]
    axes, starts, ends, steps = (tuple(c[i] for c in cut) for i in range(4))
    ends = tuple(-(2**31) if end < 0 else end for end in ends)
    return record(
        "Slice", (a,), a.data[key], backward, axes=axes, starts=starts, ends=ends, steps=steps
    )


def _by_arrays(a: Tensor, keys: list[Any]) -> Tensor:
    arrays = [k for k in keys if isinstance(k, Tensor)]
    if any(k.dtype == np.bool_ for k in arrays):
        raise TypeError(
            "key is a mask of bools; its result has no fixed shape: use where(mask, a, b)"
        )
    if len(arrays) == 1 and all(k == slice(None) for k in keys if not isinstance(k, Tensor)):
        return gather(a, arrays[0], axis=next(i for i, k in enumerate(keys) if k is arrays[0]))
    if len(arrays) != len(keys):
        raise TypeError(
            f"key is {keys}; beside arrays of integers only `:` is allowed, around one of them"
        )
    return gather_nd(a, arrays)


def gather(a: Operand, indices: Operand, axis: int = 0) -> Tensor:
    """The slices of `a` with these numbers along an axis; ONNX Gather.

    Args:
        a: (..., n, ...).
        indices: integers in [−n, n), any shape, which takes the place of the axis. A number that
            comes twice collects both gradients.
        axis: of `a`.

    Raises:
        TypeError: indices that are not integers.
        IndexError: one out of range.
    """
    a, places = as_tensor(a), as_tensor(indices)
    _check_indices(places, a.shape[axis])

    def backward(g: FloatArray) -> tuple[FloatArray, None]:
        n, axis_ = a.shape[axis], axis % a.ndim
        rows = np.moveaxis(
            g.reshape(*g.shape[:axis_], places.size, *g.shape[axis_ + places.ndim :]), axis_, 0
        )
        whole = np.zeros((n, *a.shape[:axis_], *a.shape[axis_ + 1 :]), g.dtype)
        np.add.at(whole, places.data.reshape(-1), rows)
        return np.moveaxis(whole, 0, axis_), None

    data = np.take(a.data, places.data, axis=axis)
    return record("Gather", (a, places), data, backward, axis=axis)


def gather_nd(a: Tensor, arrays: list[Tensor]) -> Tensor:
    """Elements (or slices) by one array of integers for each of the first axes; ONNX GatherND."""
    if len(arrays) > a.ndim:
        raise IndexError(
            f"key has {len(arrays)} arrays; a tensor of shape {a.shape} has {a.ndim} axes"
        )
    for axis, places in enumerate(arrays):
        _check_indices(places, a.shape[axis])
    stacked = as_tensor(np.stack(np.broadcast_arrays(*(p.data for p in arrays)), axis=-1))
    key = tuple(np.moveaxis(stacked.data, -1, 0))

    def backward(g: FloatArray) -> tuple[FloatArray, None]:
        whole = np.zeros(a.shape, g.dtype)
        np.add.at(whole, key, g)
        return whole, None

    return record("GatherND", (a, stacked), a.data[key], backward)


def _check_indices(indices: Tensor, n: int) -> None:
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices has dtype {indices.dtype}; allowed are integers")
    if indices.size and not -n <= int(indices.data.min()) <= int(indices.data.max()) < n:
        low, high = indices.data.min(), indices.data.max()
        raise IndexError(f"indices reach from {low} to {high}; allowed is [{-n}, {n})")
