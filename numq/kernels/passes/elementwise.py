"""Quantize, dequantize and fake-quantize, each in one pass over memory.

    quantize:       q = clip(rint(x / scale) + zero_point, qmin, qmax)
    dequantize:     x' = scale * (q - zero_point)
    fake-quantize:  x' = scale * (clip(rint(x / scale) + zero_point, qmin, qmax) - zero_point)

Every float32 operation is rounded once and in this order (no reciprocal, no fused multiply-add),
ties go to even, and clamping comes before the cast to an integer. The compiled and the NumPy form
give the same bits, on every machine and for every number of threads.

A scale is shared by the whole array, or there is one for each index of one axis. In memory order
such an axis makes the array an (outer, channels, inner) block, and that is all the kernels know:
per row, per column, per channel of a convolution and, after a reshape, per group are the same
thing.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.jit import address, inlined, njit
from numq.kernels.machine.parallel import Task, given_array, made_array
from numq.kernels.operands import (
    CODE_LIMITS,
    CODES,
    FLOAT32,
    INT32,
    Reals,
    checked_array,
    checked_ends,
    checked_integer,
    checked_out,
    integers_of,
    limits_of,
    reals_of,
)
from numq.kernels.passes.runs import (
    DEQUANTIZE,
    EACH,
    FAKE_QUANTIZE,
    QUANTIZE,
    SHARED,
    elementwise_run,
)
from numq.kernels.passes.sharing import ANY, all_finite, gather_flaws, no_flaws, signed, tasks_of

Floats = NDArray[np.float32]
Words = NDArray[np.int32]
Codes = NDArray[Any]

FLOATS = (FLOAT32,)
ZERO_ENDS = (-(2**20), 2**20)  #: beyond, a code less its zero point is not exact in float32
SHORT = 16  #: runs shorter than a vector are taken as columns, their scales written out


def quantize(
    x: Floats,
    scale: float | Floats,
    zero_point: int | Words,
    *,
    qmin: int,
    qmax: int,
    dtype: Any = np.int8,
    axis: int | None = None,
    out: Codes | None = None,
    isa: KernelPath | None = None,
) -> tuple[Codes, bool]:
    """Real numbers to codes: ``clip(rint(x / scale) + zero_point, qmin, qmax)``.

    Args:
        x: float32 of any shape and strides, 0-d and empty included.
        scale: float32, finite and not 0; () or, if ``axis`` is given, (channels,).
        zero_point: within ±2**20; an int, or (channels,) int32.
        qmin: the smallest code; within ``dtype``.
        qmax: the largest code, likewise.
        dtype: int8, uint8, int16 or uint16.
        axis: the axis that ``scale`` runs along, 0 or more; None: one scale for all.
        out: where to write, C-contiguous, not overlapping ``x``; made if None, in the memory order
            of ``x``.
        isa: ``Isa.NUMPY`` for the NumPy form; all others are one kernel.

    Returns:
        The codes, and whether all of ``x`` is finite. Infinities saturate, a NaN becomes ``qmin``.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape or a value does not fit.

    >>> quantize(np.array([-1, 0.25, 0.75, 100], np.float32), 0.5, 0, qmin=-128, qmax=127)
    (array([ -2,   0,   2, 127], dtype=int8), True)
    """
    limits = limits_of(dtype, CODE_LIMITS)
    qmin, qmax = checked_ends(limits, qmin, qmax)
    s, z = _checked(x, "x", FLOATS, axis, scale, zero_point)
    return quantized(x, s, z, qmin, qmax, np.dtype(dtype), axis, out, choose(isa))


def quantized(
    x: Floats, s: Floats, z: Words, qmin: int, qmax: int, dtype: np.dtype[Any],
    axis: int | None, out: Codes | None, isa: KernelPath,
) -> tuple[Codes, bool]:  # fmt: skip
    """The same, unchecked; scale and zero point are (1,) or (channels,)."""
    if isa is Isa.NUMPY:
        codes = quantize_numpy(x, *_beside(x, axis, s, z), qmin, qmax, dtype)
        return _delivered(codes, out, x), bool(np.isfinite(x).all())
    return _sweep(QUANTIZE, 8 * dtype.itemsize, x, s, z, qmin, qmax, dtype, axis, out)


def fake_quantize(
    x: Floats,
    scale: float | Floats,
    zero_point: int | Words,
    *,
    qmin: int,
    qmax: int,
    axis: int | None = None,
    out: Floats | None = None,
    isa: KernelPath | None = None,
) -> tuple[Floats, bool]:
    """``dequantize(quantize(x))`` without the codes in between; arguments as for ``quantize``.

    Returns:
        float32, and whether all of ``x`` is finite. Codes are those of 16 bits, signed or not.

    Raises:
        TypeError: as ``quantize``.
        ValueError: as ``quantize``.
    """
    qmin, qmax = checked_ends((-(2**15), 2**16 - 1), qmin, qmax)
    s, z = _checked(x, "x", FLOATS, axis, scale, zero_point)
    if choose(isa) is not Isa.NUMPY:
        return _sweep(FAKE_QUANTIZE, 16, x, s, z, qmin, qmax, FLOAT32, axis, out)
    s, z = _beside(x, axis, s, z)
    codes = quantize_numpy(x, s, z, qmin, qmax, INT32)
    return _delivered(dequantize_numpy(codes, s, z), out, x), bool(np.isfinite(x).all())


def dequantize(
    codes: Codes,
    scale: float | Floats,
    zero_point: int | Words,
    *,
    axis: int | None = None,
    out: Floats | None = None,
    isa: KernelPath | None = None,
) -> Floats:
    """Codes to real numbers: ``scale * (codes - zero_point)``, rounded once.

    ``codes`` are int8, uint8, int16 or uint16, of any shape and strides; the other arguments are as
    for ``quantize``.

    Raises:
        TypeError: as ``quantize``.
        ValueError: as ``quantize``.

    >>> dequantize(np.array([0, 128, 255], np.uint8), 0.5, 128)
    array([-64. ,   0. ,  63.5], dtype=float32)
    """
    s, z = _checked(codes, "codes", CODES, axis, scale, zero_point)
    return dequantized(codes, s, z, axis, out, choose(isa))


def dequantized(
    codes: Codes, s: Floats, z: Words, axis: int | None, out: Floats | None, isa: KernelPath
) -> Floats:
    """The same, unchecked; scale and zero point are (1,) or (channels,)."""
    if isa is Isa.NUMPY:
        return _delivered(dequantize_numpy(codes, *_beside(codes, axis, s, z)), out, codes)
    bits = 8 * codes.dtype.itemsize
    sign = 1 << (bits - 1) if codes.dtype.kind == "u" else 0
    return _sweep(DEQUANTIZE, bits, codes, s, z, sign, 0, FLOAT32, axis, out)[0]


def quantize_numpy(
    x: Floats,
    scale: Floats,
    zero_point: Words,
    qmin: int,
    qmax: int,
    dtype: np.dtype[Any],
) -> Codes:
    """The definition; ``scale`` and ``zero_point`` broadcast against ``x``.

    Clamping to ``qmin - zero_point`` and ``qmax - zero_point`` before adding the zero point is the
    same as clamping after, and exact in float32. The comparisons send NaN to ``qmin``.
    """
    low, high = (np.asarray(bound - zero_point, np.float32) for bound in (qmin, qmax))
    # Beyond float32 is beyond every code.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        steps = np.rint(x / scale)
        steps = np.where(steps > low, steps, low)
        steps = np.where(steps < high, steps, high)
    return np.asarray(steps.astype(np.int32) + zero_point).astype(dtype)


def dequantize_numpy(codes: Codes, scale: Floats, zero_point: Words) -> Floats:
    """The definition; ``scale`` and ``zero_point`` broadcast against ``codes``."""
    steps = np.asarray(codes.astype(np.int32) - zero_point).astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(steps * scale)


def _checked(
    x: NDArray[Any], name: str, allowed: tuple[np.dtype[Any], ...], axis: Any, s: Any, z: Any
) -> tuple[Floats, Words]:
    """Scale and zero point, one for each index of the axis, or one."""
    checked_array(name, x, allowed)
    count = 1 if axis is None else x.shape[checked_integer("axis", axis, 0, x.ndim - 1)]
    return (
        reals_of("scale", s, count, Reals.NONZERO),
        integers_of("zero_point", z, count, ZERO_ENDS),
    )


def _beside(
    x: NDArray[Any], axis: int | None, scale: Floats, zero_point: Words
) -> tuple[Floats, Words]:
    """The same, shaped to broadcast against ``x``."""
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    return scale.reshape(shape), zero_point.reshape(shape)


def _delivered(result: NDArray[Any], out: NDArray[Any] | None, x: NDArray[Any]) -> NDArray[Any]:
    if out is None:
        return result
    checked_out(out, result.shape, result.dtype, x)[...] = result
    return out


def _sweep(
    kind: int, bits: int, x: NDArray[Any], s: Floats, z: Words, first: int, second: int,
    dtype: np.dtype[Any], axis: int | None, out: NDArray[Any] | None,
) -> tuple[NDArray[Any], bool]:  # fmt: skip
    """Over all of ``x`` in memory order; ``first`` and ``second`` as ``elementwise_run`` has them.

    The result, and whether no NaN and no infinity came by.
    """
    if not x.flags.c_contiguous:
        if x.flags.f_contiguous and out is None:  # a transposed array is swept as it lies
            mirrored = None if axis is None else x.ndim - 1 - axis
            result, finite = _sweep(kind, bits, x.T, s, z, first, second, dtype, mirrored, None)
            return result.T, finite
        x = np.ascontiguousarray(x)
    result = np.empty(x.shape, dtype) if out is None else checked_out(out, x.shape, dtype, x)
    if not x.size:
        return result, True
    width, spread = x.size, False  # of a run; whether each of its elements has a scale
    if axis is not None and x.shape[axis] > 1:
        width = math.prod(x.shape[axis + 1 :])
        if spread := width < SHORT:
            s, z, width = np.repeat(s, width), np.repeat(z, width), x.shape[axis] * width
    tasks = tasks_of(x.size)
    flaws = no_flaws(tasks)
    source, target = signed(x).reshape(-1), signed(result).reshape(-1)
    given = source, s, z, first, second, target, flaws, width, spread
    _sweep_task(kind, bits).run_all(tasks, *given, tasks)
    return result, all_finite(flaws)


@cache
def _sweep_task(kind: int, bits: int) -> Task:
    """Compile, or load from disk, when first asked for."""
    code, number = (types.int8 if bits == 8 else types.int16), types.int64
    source = code if kind == DEQUANTIZE else types.float32
    target = code if kind == QUANTIZE else types.float32
    given = (given_array(lane) for lane in (source, types.float32, types.int32))
    made = made_array(target), made_array(types.int32, 2)
    signature = (*given, number, number, *made, number, types.boolean, number, number)
    return Task(njit(_sweep_of(kind, bits)), signature)


def _sweep_of(kind: int, bits: int) -> Callable[..., None]:
    def numq_sweep(x, s, z, first, second, out, flaws, width, spread, tasks, task):
        """Cut the task's share of ``x`` into runs of ``width``, or pieces of them."""
        at, end = share_of(x.size, tasks, task), share_of(x.size, tasks, task + 1)
        found = address(flaws) + task * flaws.strides[0]
        row = at // width
        channel = row % s.size
        while at < end:
            count = min(end, (row + 1) * width) - at
            skip = 4 * (at - row * width if spread else channel)
            source, target = address(x) + at * x.itemsize, address(out) + at * out.itemsize
            scale, zero = address(s) + skip, address(z) + skip
            if spread:
                elementwise_run(
                    ANY, count, source, scale, zero, first, second, target, found, kind, bits, EACH
                )
            else:
                elementwise_run(
                    ANY,
                    count,
                    source,
                    scale,
                    zero,
                    first,
                    second,
                    target,
                    found,
                    kind,
                    bits,
                    SHARED,
                )
            at += count
            row += 1
            channel = 0 if channel + 1 == s.size else channel + 1
        gather_flaws(flaws, task)

    return numq_sweep


@inlined
def share_of(size, tasks, task):
    """Where task ``task`` begins: at a multiple of 64, so that tasks seldom share a cache line."""
    return min(size, (size + 63) // 64 * task // tasks * 64)
