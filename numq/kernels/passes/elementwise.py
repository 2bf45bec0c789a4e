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

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.operands import (
    CODE_LIMITS,
    CODES,
    Reals,
    checked_array,
    checked_axis,
    checked_ends,
    checked_floats,
    checked_out,
    integers_of,
    limits_of,
    reals_of,
)
from numq.kernels.passes.sweeps import FLAWS, sweep_task, tasks_of

Floats = NDArray[np.float32]
Codes = NDArray[Any]

ZERO_ENDS = (-(2**20), 2**20)  #: beyond, a code less its zero point is not exact in float32
SHORT = 16  #: runs shorter than a vector are taken as columns, their scales written out


def quantize(
    x: Floats,
    scale: float | Floats,
    zero_point: int | NDArray[np.int32],
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
    qmin, qmax = checked_ends(limits_of(dtype, CODE_LIMITS), qmin, qmax)
    dtype, chosen = np.dtype(dtype), choose(isa)
    checked_floats("x", x)
    scale, zero_point = _parameters(x, axis, scale, zero_point)
    if chosen is Isa.NUMPY:
        codes = quantize_numpy(x, *_beside(x, axis, scale, zero_point), qmin, qmax, dtype)
        return _delivered(codes, out, x), bool(np.isfinite(x).all())
    return _sweep(
        f"quantize{8 * dtype.itemsize}", x, scale, zero_point, qmin, qmax, dtype, axis, out
    )


def fake_quantize(
    x: Floats,
    scale: float | Floats,
    zero_point: int | NDArray[np.int32],
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
    chosen = choose(isa)
    checked_floats("x", x)
    scale, zero_point = _parameters(x, axis, scale, zero_point)
    if chosen is Isa.NUMPY:
        s, z = _beside(x, axis, scale, zero_point)
        codes = quantize_numpy(x, s, z, qmin, qmax, np.dtype(np.int32))
        return _delivered(dequantize_numpy(codes, s, z), out, x), bool(np.isfinite(x).all())
    return _sweep(
        "fake_quantize", x, scale, zero_point, qmin, qmax, np.dtype(np.float32), axis, out
    )


def dequantize(
    codes: Codes,
    scale: float | Floats,
    zero_point: int | NDArray[np.int32],
    *,
    axis: int | None = None,
    out: Floats | None = None,
    isa: KernelPath | None = None,
) -> Floats:
    """Codes to real numbers: ``scale * (codes - zero_point)``, rounded once.

    Args:
        codes: int8, uint8, int16 or uint16, any shape and strides.
        scale: as for ``quantize``, as all that follow.
        zero_point: see ``scale``.
        axis: see ``scale``.
        out: see ``scale``.
        isa: see ``scale``.

    Raises:
        TypeError: as ``quantize``.
        ValueError: as ``quantize``.

    >>> dequantize(np.array([0, 128, 255], np.uint8), 0.5, 128)
    array([-64. ,   0. ,  63.5], dtype=float32)
    """
    chosen = choose(isa)
    checked_array("codes", codes, CODES)
    scale, zero_point = _parameters(codes, axis, scale, zero_point)
    if chosen is Isa.NUMPY:
        real = dequantize_numpy(codes, *_beside(codes, axis, scale, zero_point))
        return _delivered(real, out, codes)
    bits = 8 * codes.dtype.itemsize
    sign = 1 << (bits - 1) if codes.dtype.kind == "u" else 0
    return _sweep(
        f"dequantize{bits}", codes, scale, zero_point, sign, 0, np.dtype(np.float32), axis, out
    )[0]


def quantize_numpy(
    x: Floats,
    scale: Floats,
    zero_point: NDArray[np.int32],
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


def dequantize_numpy(codes: Codes, scale: Floats, zero_point: NDArray[np.int32]) -> Floats:
    """The definition; ``scale`` and ``zero_point`` broadcast against ``codes``."""
    steps = np.asarray(codes.astype(np.int32) - zero_point).astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(steps * scale)


def _parameters(
    x: NDArray[Any], axis: Any, scale: Any, zero_point: Any
) -> tuple[Floats, NDArray[np.int32]]:
    """Scale and zero point, one for each index of the axis, or one."""
    count = 1 if axis is None else x.shape[checked_axis(axis, x.ndim)]
    return (
        reals_of("scale", scale, count, Reals.NONZERO),
        integers_of("zero_point", zero_point, count, ZERO_ENDS),
    )


def _beside(
    x: NDArray[Any], axis: int | None, scale: Floats, zero_point: NDArray[np.int32]
) -> tuple[Floats, NDArray[np.int32]]:
    """The same, shaped to broadcast against ``x``."""
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    return scale.reshape(shape), zero_point.reshape(shape)


def _delivered(result: NDArray[Any], out: NDArray[Any] | None, x: NDArray[Any]) -> NDArray[Any]:
    if out is None:
        return result
    checked_out(out, result.shape, result.dtype, x)[...] = result
    return out


def _sweep(
    kernel: str, x: NDArray[Any], scale: Any, zero_point: Any, first: int, second: int,
    dtype: np.dtype[Any], axis: int | None, out: NDArray[Any] | None,
) -> tuple[NDArray[Any], bool]:  # fmt: skip
    """Run ``kernel`` over all of ``x`` in memory order; ``first``, ``second``: its two numbers."""
    if not x.flags.c_contiguous:
        if x.flags.f_contiguous and out is None:  # a transposed array is swept as it lies
            mirrored = None if axis is None else x.ndim - 1 - axis
            result, finite = _sweep(
                kernel, x.T, scale, zero_point, first, second, dtype, mirrored, None
            )
            return result.T, finite
        x = np.ascontiguousarray(x)
    result = np.empty(x.shape, dtype) if out is None else checked_out(out, x.shape, dtype, x)
    if not x.size:
        return result, True
    s, z, width, across = _channels(x.shape, axis, scale, zero_point)
    tasks = tasks_of(x.size)
    flaws = np.zeros((tasks, FLAWS), np.int32)
    source, target = signed(x).reshape(-1), signed(result).reshape(-1)
    arguments = source, s, z, first, second, target, flaws, width, across
    sweep_task(kernel).run_all(tasks, *arguments, tasks)
    return result, all_finite(flaws)


def all_finite(flaws: NDArray[np.int32]) -> bool:
    """Whether no task found a NaN or infinity."""
    return not (flaws[0, 0] if len(flaws) == 1 else flaws[:, 0].any())


_SIGNED = {np.dtype(np.uint8): np.dtype(np.int8), np.dtype(np.uint16): np.dtype(np.int16)}


def signed(array: NDArray[Any]) -> NDArray[Any]:
    """The same bytes, unsigned codes read as signed ones."""
    kind: Any = _SIGNED.get(array.dtype)
    return array if kind is None else array.view(kind)


def _channels(
    shape: tuple[int, ...], axis: int | None, s: Floats, z: NDArray[np.int32]
) -> tuple[Floats, NDArray[np.int32], int, bool]:
    """Scales, zero points, the length of a run, and whether its elements have a scale each."""
    if axis is None or shape[axis] == 1:
        return s, z, math.prod(shape), False
    channels, inner = shape[axis], math.prod(shape[axis + 1 :])
    if inner >= SHORT:
        return s, z, inner, False
    return np.repeat(s, inner), np.repeat(z, inner), channels * inner, True
