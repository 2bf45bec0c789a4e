"""Minimum and maximum in one pass, and quantization of each row by its own range.

Dynamic quantization of activations (per token) needs both for every row: the range, then, while the
row is still in the cache, its codes.

    affine:     scale = (max - min) / (qmax - qmin)
                zero_point = clip(qmin - rint(min / scale), qmin, qmax)
    symmetric:  scale = max(|min|, |max|) / (qmax - middle)
                zero_point = middle = (qmin + qmax + 1) // 2

The range is first extended to contain zero. Scales are computed in float64 and rounded once to
float32; 0 becomes 1, what lies below the smallest normal float32 becomes that, and a scale at which
the outermost code would lie beyond float32 is lowered until it does not.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.jit import inlined, njit
from numq.kernels.machine.parallel import Task
from numq.kernels.operands import (
    EIGHT_BIT_LIMITS,
    checked_axis,
    checked_ends,
    checked_flag,
    checked_floats,
    limits_of,
)
from numq.kernels.passes.elementwise import Codes, Floats, all_finite, quantize_numpy, signed
from numq.kernels.passes.range_runs import min_max_across, min_max_run
from numq.kernels.passes.runs import LANES, quantize8_run
from numq.kernels.passes.sweeps import ANY, FLAWS, given_line, line, tasks_of
from numq.kernels.product.loops import address

TINY, LIMIT = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def min_max(
    x: Floats, *, axis: int | None = None, isa: KernelPath | None = None
) -> tuple[Floats, Floats, bool]:
    """Smallest and largest value, of all of ``x`` or for each index of one axis.

    Args:
        x: float32, any shape and strides.
        axis: the axis that is kept, 0 or more; None: none is.
        isa: ``Isa.NUMPY`` for the NumPy form; all others are one kernel.

    Returns:
        Minimum and maximum, float32 of shape () or (channels,), and whether all of ``x`` is finite.
        NaN is passed over, a zero is +0, and what is empty (or only NaN) has +inf and -inf.

    Raises:
        TypeError: ``x`` is not float32, or ``axis`` no integer.
        ValueError: ``x`` has no such axis.

    >>> low, high, finite = min_max(np.array([[3, -1], [0, 7]], np.float32), axis=0)
    >>> low.tolist(), high.tolist(), finite
    ([-1.0, 0.0], [3.0, 7.0], True)
    """
    chosen = choose(isa)
    checked_floats("x", x)
    if axis is not None:
        axis = checked_axis(axis, x.ndim)
    if chosen is Isa.NUMPY:
        return (*min_max_numpy(x, axis), bool(np.isfinite(x).all()))
    if not x.flags.c_contiguous:
        if x.flags.f_contiguous:
            return min_max(x.T, axis=None if axis is None else x.ndim - 1 - axis, isa=isa)
        x = np.ascontiguousarray(x)
    channels = 1 if axis is None else x.shape[axis]
    if not x.size:
        low = np.full(() if axis is None else channels, np.inf, np.float32)
        return low[()], -low, True
    inner = x.size if axis is None else math.prod(x.shape[axis + 1 :])
    if axis is None:
        ends, finite = _of_runs(x, -(-inner // tasks_of(inner)))
    elif inner >= LANES:
        ends, finite = _of_runs(x, inner)
    else:
        ends, finite = _of_columns(x, channels * inner)
    if ends.size == 2 and axis is None:
        return ends[0, 0], ends[0, 1], finite
    whole = ends.reshape(-1, channels, inner if ends.ndim == 3 else 1, 2)
    low, high = whole[..., 0].min((0, 2)), whole[..., 1].max((0, 2))
    return (low[0], high[0], finite) if axis is None else (low, high, finite)


def min_max_numpy(x: Floats, axis: int | None) -> tuple[Floats, Floats]:
    """The definition."""
    others = tuple(i for i in range(x.ndim) if i != axis)
    low = np.fmin.reduce(x, others, initial=np.inf)
    high = np.fmax.reduce(x, others, initial=-np.inf)
    return np.float32(0) + low, np.float32(0) + high


def quantize_rows(
    x: Floats,
    *,
    symmetric: bool,
    qmin: int = -128,
    qmax: int = 127,
    dtype: Any = np.int8,
    isa: KernelPath | None = None,
) -> tuple[Codes, Floats, NDArray[np.int32], bool]:
    """Quantize each row by its own range.

    Args:
        x: (rows, columns) float32, any strides.
        symmetric: keep the zero point in the middle of the codes.
        qmin: the smallest code.
        qmax: the largest code, at least two above ``qmin``.
        dtype: int8 or uint8.
        isa: as for ``min_max``.

    Returns:
        Codes (rows, columns), scales (rows,) float32, zero points (rows,) int32, and whether all of
        ``x`` is finite; if it is not, the other three mean nothing.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: ``x`` is no matrix, or the codes do not fit ``dtype``.

    >>> x = np.array([[-1, 0, 4.1]], np.float32)
    >>> codes, scale, zero_point, _ = quantize_rows(x, symmetric=False)
    >>> codes, scale, zero_point.tolist()
    (array([[-128,  -78,  127]], dtype=int8), array([0.02], dtype=float32), [-78])
    """
    qmin, qmax = checked_ends(limits_of(dtype, EIGHT_BIT_LIMITS), qmin, qmax)
    if qmax - qmin < 2:
        raise ValueError(f"qmax is {qmax}; allowed is qmin + 2, {qmin + 2}, and above")
    dtype, chosen, symmetric = np.dtype(dtype), choose(isa), checked_flag("symmetric", symmetric)
    checked_floats("x", x, axes=2)
    if chosen is Isa.NUMPY:
        return quantize_rows_numpy(x, symmetric, qmin, qmax, dtype)
    x = np.ascontiguousarray(x)
    rows = len(x)
    codes, scales, zero_points = (
        np.empty(x.shape, dtype),
        np.empty(rows, np.float32),
        np.empty(rows, np.int32),
    )
    tasks = min(tasks_of(x.size), max(1, rows))
    flaws = np.zeros((tasks, FLAWS), np.int32)
    _rows_task().run_all(
        tasks, x, symmetric, qmin, qmax, signed(codes), scales, zero_points, flaws, tasks
    )
    return codes, scales, zero_points, all_finite(flaws)


def quantize_rows_numpy(
    x: Floats, symmetric: bool, qmin: int, qmax: int, dtype: np.dtype[Any]
) -> tuple[Codes, Floats, NDArray[np.int32], bool]:
    """The definition."""
    finite = bool(np.isfinite(x).all())
    low, high = min_max_numpy(x if finite else np.nan_to_num(x), 0)
    scales, zero_points = grid_numpy(low, high, symmetric, qmin, qmax)
    codes = quantize_numpy(x, scales[:, None], zero_points[:, None], qmin, qmax, dtype)
    return codes, scales, zero_points, finite


def grid_numpy(
    low: Floats, high: Floats, symmetric: bool, qmin: int, qmax: int
) -> tuple[Floats, NDArray[np.int32]]:
    """Scales and zero points of finite ranges; the equations above."""
    bottom, top = np.minimum(low.astype(np.float64), 0), np.maximum(high.astype(np.float64), 0)
    middle = (qmin + qmax + 1) // 2
    if symmetric:
        exact = np.maximum(-bottom, top) / (qmax - middle)
    else:
        exact = (top / 2 - bottom / 2) / ((qmax - qmin) / 2)
    scales = np.where(exact == 0, 1.0, np.maximum(exact, TINY)).astype(np.float32)
    if symmetric:
        zero_points = np.full(scales.shape, middle, np.int32)
    else:
        nearest = np.rint(bottom / scales.astype(np.float64))
        zero_points = np.clip(qmin - nearest, qmin, qmax).astype(np.int32)
    furthest = np.maximum(qmax - zero_points, zero_points - qmin).astype(np.float64)
    lowered = np.nextafter((LIMIT / furthest).astype(np.float32), np.float32(0))
    lowered = np.where(np.frexp(scales)[0] == 0.5, scales / np.float32(2), lowered)
    return np.where(scales * furthest > LIMIT, lowered, scales), zero_points


@inlined
def rounded_scale(exact):
    """A float64 scale as float32, raised to where it may divide."""
    return np.float32(1.0) if exact == 0 else np.float32(max(exact, TINY))


@inlined
def kept_finite(scale, furthest):
    """A scale at which the code ``furthest`` from the zero point stays within float32.

    A power of two stays one.
    """
    kept = np.float32(scale)
    if np.float64(scale) * furthest > LIMIT:
        lowered = np.nextafter(np.float32(LIMIT / furthest), np.float32(0))
        kept = np.float32(scale / 2) if math.frexp(scale)[0] == 0.5 else lowered
    return kept


@inlined
def grid(low, high, symmetric, qmin, qmax):
    """``grid_numpy`` of one range; also defined, though meaningless, for an infinite one."""
    bottom, top = min(np.float64(low), 0.0), max(np.float64(high), 0.0)
    middle = (qmin + qmax + 1) // 2
    exact = (
        max(-bottom, top) / (qmax - middle)
        if symmetric
        else (top / 2 - bottom / 2) / ((qmax - qmin) / 2)
    )
    scale = rounded_scale(exact)
    nearest = qmin - np.rint(bottom / np.float64(scale))
    nearest = nearest if nearest > qmin else np.float64(qmin)  # NaN becomes qmin
    zero_point = middle if symmetric else np.int64(min(nearest, np.float64(qmax)))
    return kept_finite(scale, max(qmax - zero_point, zero_point - qmin)), zero_point


def numq_quantize_rows(x, symmetric, qmin, qmax, codes, scales, zero_points, flaws, tasks, task):
    """Quantize the task's share of the rows."""
    rows, columns = x.shape
    found = address(flaws) + task * flaws.strides[0]
    ends = np.empty(2, np.float32)
    for row in range(rows * task // tasks, rows * (task + 1) // tasks):
        source, target = address(x) + 4 * columns * row, address(codes) + columns * row
        ends[0], ends[1] = np.inf, -np.inf
        min_max_run(ANY, columns, source, address(ends), found)
        scales[row], zero_points[row] = grid(ends[0], ends[1], symmetric, qmin, qmax)
        place, zero = address(scales) + 4 * row, address(zero_points) + 4 * row
        quantize8_run(ANY, columns, source, place, zero, qmin, qmax, target, found)
    for lane in range(1, LANES):
        flaws[task, 0] |= flaws[task, lane]


def numq_min_max_runs(x, width, ends, flaws, tasks, task):
    """The range of each of the task's runs of ``width``; the last run may be shorter."""
    runs = len(ends)
    for run in range(runs * task // tasks, runs * (task + 1) // tasks):
        ends[run, 0], ends[run, 1] = np.inf, -np.inf
        count = min(width, x.size - run * width)
        min_max_run(
            ANY,
            count,
            address(x) + 4 * width * run,
            address(ends) + 8 * run,
            address(flaws) + task * flaws.strides[0],
        )


def numq_min_max_columns(x, ends, flaws, tasks, task):
    """The range of each column over the task's share of the rows."""
    rows, columns = x.shape
    low, high = ends[task]
    found = address(flaws) + task * flaws.strides[0]
    for column in range(columns):
        low[column], high[column] = np.inf, -np.inf
    for row in range(rows * task // tasks, rows * (task + 1) // tasks):
        min_max_across(
            ANY, columns, address(x) + 4 * columns * row, address(low), address(high), found
        )
    for lane in range(1, LANES):
        flaws[task, 0] |= flaws[task, lane]


def _of_runs(x: Floats, width: int) -> tuple[Floats, bool]:
    """(runs, 2): the range of each run of ``width``; the last may be shorter."""
    count = -(-x.size // width)
    tasks = min(tasks_of(x.size), count)
    ends, flaws = np.empty((count, 2), np.float32), np.zeros((tasks, FLAWS), np.int32)
    _runs_task().run_all(tasks, x.reshape(-1), width, ends, flaws, tasks)
    return ends, all_finite(flaws)


def _of_columns(x: Floats, columns: int) -> tuple[Floats, bool]:
    """(tasks, columns, 2): the range of each column, over the rows that a task looked at."""
    rows = x.size // columns
    tasks = min(tasks_of(x.size), rows)
    ends, flaws = np.empty((tasks, 2, columns), np.float32), np.zeros((tasks, FLAWS), np.int32)
    _columns_task().run_all(tasks, x.reshape(rows, columns), ends, flaws, tasks)
    return ends.swapaxes(1, 2), all_finite(flaws)


def _table(lane: Any, axes: int, *, readonly: bool = False) -> Any:
    return types.Array(lane, axes, "C", readonly=readonly)


_INT, _X = types.int64, _table(types.float32, 2, readonly=True)
_FLAWS = _table(types.int32, 2)


@cache
def _runs_task() -> Task:
    given = given_line(types.float32), _INT
    return Task(njit(numq_min_max_runs), (*given, _table(types.float32, 2), _FLAWS, _INT, _INT))


@cache
def _columns_task() -> Task:
    return Task(njit(numq_min_max_columns), (_X, _table(types.float32, 3), _FLAWS, _INT, _INT))


@cache
def _rows_task() -> Task:
    made = _table(types.int8, 2), line(types.float32), line(types.int32), _FLAWS
    return Task(njit(numq_quantize_rows), (_X, types.boolean, _INT, _INT, *made, _INT, _INT))
