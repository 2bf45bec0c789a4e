"""Minimum and maximum in one pass."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types

from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.jit import address, njit
from numq.kernels.machine.parallel import Task, given_array, made_array
from numq.kernels.operands import checked_floats
from numq.kernels.passes.elementwise import Floats
from numq.kernels.passes.extremes import min_max_run
from numq.kernels.passes.sharing import ANY, all_finite, no_flaws, tasks_of


def min_max(x: Floats, *, isa: KernelPath | None = None) -> tuple[np.float32, np.float32, bool]:
    """Smallest and largest value of ``x``, and whether all of it is finite.

    NaN is passed over, a zero is +0, and what is empty (or only NaN) has +inf and -inf.

    Args:
        x: float32, any shape and strides.
        isa: ``Isa.NUMPY`` for the NumPy form; all others are one kernel.

    Raises:
        TypeError: ``x`` is not float32.

    >>> min_max(np.array([[3, -1], [0, 7]], np.float32))
    (np.float32(-1.0), np.float32(7.0), True)
    """
    checked_floats("x", x)
    if choose(isa) is Isa.NUMPY:
        return (*min_max_numpy(x), bool(np.isfinite(x).all()))
    tasks = tasks_of(x.size)
    ends, flaws = np.empty((tasks, 2), np.float32), no_flaws(tasks)
    flat = np.ascontiguousarray(x if x.flags.c_contiguous else x.T).reshape(-1)
    _task().run_all(tasks, flat, ends, flaws, tasks)
    low, high = ends[0] if tasks == 1 else (ends[:, 0].min(), ends[:, 1].max())
    return low, high, all_finite(flaws)


def min_max_numpy(x: Floats, axes: tuple[int, ...] | None = None) -> tuple[Any, Any]:
    """The definition, over some axes or all."""
    low = np.fmin.reduce(x, axes, initial=np.inf)
    high = np.fmax.reduce(x, axes, initial=-np.inf)
    return np.float32(0) + low, np.float32(0) + high


def numq_min_max(x, ends, flaws, tasks, task):
    """The range of the task's share."""
    begin, end = x.size * task // tasks, x.size * (task + 1) // tasks
    ends[task, 0], ends[task, 1] = np.inf, -np.inf
    place, found = address(ends) + 8 * task, address(flaws) + task * flaws.strides[0]
    min_max_run(ANY, end - begin, address(x) + 4 * begin, place, found)


@cache
def _task() -> Task:
    number, made = types.int64, (made_array(types.float32, 2), made_array(types.int32, 2))
    return Task(njit(numq_min_max), (given_array(types.float32), *made, number, number))
