"""Quantization of each row by its own range.

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

from numq.arguments import flag
from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.jit import address, inlined, njit
from numq.kernels.machine.parallel import Task, given_array, made_array
from numq.kernels.operands import (
    EIGHT_BIT_LIMITS,
    checked_ends,
    checked_floats,
    limits_of,
)
from numq.kernels.passes.elementwise import Codes, Floats, Words, quantize_numpy
from numq.kernels.passes.extremes import min_max_run
from numq.kernels.passes.ranges import min_max_numpy
from numq.kernels.passes.runs import QUANTIZE, SHARED, elementwise_run
from numq.kernels.passes.sharing import (
    ANY,
    TASK_SIZE,
    all_finite,
    gather_flaws,
    no_flaws,
    signed,
    tasks_of,
)

TINY, LIMIT = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def quantize_rows(
    x: Floats,
    *,
    symmetric: bool,
    qmin: int = -128,
    qmax: int = 127,
    dtype: Any = np.int8,
    isa: KernelPath | None = None,
) -> tuple[Codes, Floats, Words, bool]:
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
    symmetric = flag(symmetric, "symmetric")
    checked_floats("x", x, axes=2)
    return quantized_rows(x, symmetric, qmin, qmax, np.dtype(dtype), choose(isa))


def quantized_rows(
    x: Floats, symmetric: bool, qmin: int, qmax: int, dtype: np.dtype[Any], isa: KernelPath
) -> tuple[Codes, Floats, Words, bool]:
    """The same, unchecked."""
    if isa is Isa.NUMPY:
        return quantize_rows_numpy(x, symmetric, qmin, qmax, dtype)
    rows = len(x)
    codes, scales = np.empty(x.shape, dtype), np.empty(rows, np.float32)
    zero_points = np.empty(rows, np.int32)
    tasks = 1 if x.size < TASK_SIZE else min(tasks_of(x.size), rows)
    flaws, x = no_flaws(tasks), np.ascontiguousarray(x)
    made = signed(codes), scales, zero_points, flaws
    _rows_task().run_all(tasks, x, symmetric, qmin, qmax, *made, tasks)
    return codes, scales, zero_points, all_finite(flaws)


def quantize_rows_numpy(
    x: Floats, symmetric: bool, qmin: int, qmax: int, dtype: np.dtype[Any]
) -> tuple[Codes, Floats, Words, bool]:
    """The definition."""
    finite = bool(np.isfinite(x).all())
    low, high = min_max_numpy(x if finite else np.nan_to_num(x), (1,))
    scales, zero_points = grid_numpy(low, high, symmetric, qmin, qmax)
    codes = quantize_numpy(x, scales[:, None], zero_points[:, None], qmin, qmax, dtype)
    return codes, scales, zero_points, finite


def grid_numpy(
    low: Floats, high: Floats, symmetric: bool, qmin: int, qmax: int
) -> tuple[Floats, Words]:
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
        elementwise_run(
            ANY, columns, source, place, zero, qmin, qmax, target, found, QUANTIZE, 8, SHARED
        )
    gather_flaws(flaws, task)


@cache
def _rows_task() -> Task:
    number, x = types.int64, given_array(types.float32, 2)
    made = made_array(types.int8, 2), made_array(types.float32), made_array(types.int32)
    signature = (x, types.boolean, number, number, *made, made_array(types.int32, 2))
    return Task(njit(numq_quantize_rows), (*signature, number, number))
