"""Minimum and maximum in one pass, of a whole array or for each index of one axis."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import math
from functools import cache

import numpy as np
from numba import types

from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.jit import njit
from numq.kernels.machine.parallel import Task, given_array, made_array
from numq.kernels.operands import checked_floats, checked_integer
from numq.kernels.passes.elementwise import Floats
from numq.kernels.passes.extremes import min_max_across, min_max_run
from numq.kernels.passes.runs import LANES
from numq.kernels.passes.sharing import ANY, all_finite, gather_flaws, no_flaws, tasks_of
from numq.kernels.product.loops import address


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
    checked_floats("x", x)
    axis = None if axis is None else checked_integer("axis", axis, 0, x.ndim - 1)
    if choose(isa) is Isa.NUMPY:
        return (*min_max_numpy(x, axis), bool(np.isfinite(x).all()))
    if not x.flags.c_contiguous:
        if x.flags.f_contiguous:
            return min_max(x.T, axis=None if axis is None else x.ndim - 1 - axis, isa=isa)
        x = np.ascontiguousarray(x)
    if not x.size:
        low = np.full(() if axis is None else x.shape[axis], np.inf, np.float32)
        return low[()], -low, True
    if axis is None:
        ends, finite = _of_runs(x, -(-x.size // tasks_of(x.size)))
        if len(ends) == 1:
            return ends[0, 0], ends[0, 1], finite
        return ends[:, 0].min(), ends[:, 1].max(), finite
    channels, inner = x.shape[axis], math.prod(x.shape[axis + 1 :])
    runs = inner >= LANES
    ends, finite = _of_runs(x, inner) if runs else _of_columns(x, channels * inner)
    whole = ends.reshape(-1, channels, 1 if runs else inner, 2)
    return whole[..., 0].min((0, 2)), whole[..., 1].max((0, 2)), finite


def min_max_numpy(x: Floats, axis: int | None) -> tuple[Floats, Floats]:
    """The definition."""
    others = tuple(i for i in range(x.ndim) if i != axis)
    low = np.fmin.reduce(x, others, initial=np.inf)
    high = np.fmax.reduce(x, others, initial=-np.inf)
    return np.float32(0) + low, np.float32(0) + high


def _of_runs(x: Floats, width: int) -> tuple[Floats, bool]:
    """(runs, 2): the range of each run of ``width``; the last may be shorter."""
    count = -(-x.size // width)
    tasks = min(tasks_of(x.size), count)
    ends, flaws = np.empty((count, 2), np.float32), no_flaws(tasks)
    _runs_task().run_all(tasks, x.reshape(-1), width, ends, flaws, tasks)
    return ends, all_finite(flaws)


def numq_min_max_runs(x, width, ends, flaws, tasks, task):
    """The range of each of the task's runs of ``width``; the last run may be shorter."""
    runs, found = len(ends), address(flaws) + task * flaws.strides[0]
    for run in range(runs * task // tasks, runs * (task + 1) // tasks):
        ends[run, 0], ends[run, 1] = np.inf, -np.inf
        count, place = min(width, x.size - run * width), address(ends) + 8 * run
        min_max_run(ANY, count, address(x) + 4 * width * run, place, found)


@cache
def _runs_task() -> Task:
    given, number = (given_array(types.float32), types.int64), types.int64
    made = made_array(types.float32, 2), made_array(types.int32, 2)
    return Task(njit(numq_min_max_runs), (*given, *made, number, number))


def _of_columns(x: Floats, columns: int) -> tuple[Floats, bool]:
    """(tasks, columns, 2): the range of each column, over the rows that a task looked at."""
    rows = x.size // columns
    tasks = min(tasks_of(x.size), rows)
    ends, flaws = np.empty((tasks, 2, columns), np.float32), no_flaws(tasks)
    _columns_task().run_all(tasks, x.reshape(rows, columns), ends, flaws, tasks)
    return ends.swapaxes(1, 2), all_finite(flaws)


def numq_min_max_columns(x, ends, flaws, tasks, task):
    """The range of each column over the task's share of the rows."""
    rows, columns = x.shape
    low, high = ends[task]
    found = address(flaws) + task * flaws.strides[0]
    for column in range(columns):
        low[column], high[column] = np.inf, -np.inf
    for row in range(rows * task // tasks, rows * (task + 1) // tasks):
        source = address(x) + 4 * columns * row
        min_max_across(ANY, columns, source, address(low), address(high), found)
    gather_flaws(flaws, task)


@cache
def _columns_task() -> Task:
    number, made = types.int64, (made_array(types.float32, 3), made_array(types.int32, 2))
    x = given_array(types.float32, 2)
    return Task(njit(numq_min_max_columns), (x, *made, number, number))
