"""Products of whole quantized layers: zero points, bias, and the way out of int32, in one pass.

All take ``a`` (..., M, K) and ``b`` (K, N), 8 bits each, with ``real = scale * (value -
zero_point)``. The accumulator is

    accumulator = (a - a_zero_point) @ (b - b_zero_point) + bias        int32, modulo 2**32

The product itself never sees a zero point. With A stored as ``a + s`` and B as ``b - t`` (see
`pack_a`, `pack_b`), put ``p = a_zero_point + s`` and ``q = t - b_zero_point``; then

    accumulator = A @ B - p * (colsum(B) + K * q) + bias + q * rowsum(A)
                          `-------- one term per column --------'   `-- only if q is not 0
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.machine.cpu import KernelPath, choose
from numq.kernels.machine.parallel import grid, tasks_for
from numq.kernels.machine.workspace import room
from numq.kernels.operands import (
    EIGHT_BIT_LIMITS,
    INT32_ENDS,
    Reals,
    as_bytes,
    checked_codes,
    checked_integer,
    checked_out,
    checked_sign,
    integers_of,
    limits_of,
    reals_of,
)
from numq.kernels.product.entries import Kernels, kernels
from numq.kernels.product.prepacked import prepacked_room, rows_of_block
from numq.kernels.product.weights import PackedWeight, pack_weight
from numq.kernels.reference import correct_numpy, dequantize_numpy, matmul_numpy, requantize_numpy

Integers = NDArray[np.integer[Any]]
Floats = NDArray[np.float32]
NO_INTS, NO_FLOATS, NO_SUMS = (
    np.empty(0, np.int32),
    np.empty(0, np.float32),
    np.empty((0, 0), np.int32),
)


def matmul_integers(
    a: NDArray[Any],
    b: NDArray[Any] | PackedWeight,
    *,
    a_zero_point: int = 0,
    b_zero_point: int | Integers = 0,
    bias: Integers | None = None,
    out: NDArray[np.int32] | None = None,
    isa: KernelPath | None = None,
) -> NDArray[np.int32]:
    """The accumulator itself, int32.

    Args:
        a: (..., M, K) int8 or uint8.
        b: (K, N) int8 or uint8, or packed.
        a_zero_point: of ``a``, within int32.
        b_zero_point: of ``b``, within int32, or (N,) int32 of its columns.
        bias: (N,) int32.
        out: (..., M, N) int32, C-contiguous, not overlapping ``a``; made if None.
        isa: the instruction set; None: ``NUMQ_ISA`` or the best. A packed weight brings its own.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: an argument has a shape that does not match.
    """
    call = _prepare(a, b, a_zero_point, b_zero_point, bias, isa)
    result = (
        np.empty(call.shape, np.int32) if out is None else checked_out(out, call.shape, np.int32, a)
    )
    if call.kit is None:
        result[...] = call.accumulator.reshape(call.shape)
    elif result.size:
        call.kit.integers.run_all(call.tasks, *call.arguments, result.reshape(-1, call.shape[-1]))
    return result


def matmul_requantized(
    a: NDArray[Any],
    b: NDArray[Any] | PackedWeight,
    *,
    multiplier: float | Floats,
    zero_point: int = 0,
    qmin: int = -128,
    qmax: int = 127,
    dtype: type[np.int8] | type[np.uint8] = np.int8,
    a_zero_point: int = 0,
    b_zero_point: int | Integers = 0,
    bias: Integers | None = None,
    isa: KernelPath | None = None,
) -> NDArray[Any]:
    """``clamp(rint(float32(accumulator) * multiplier) + zero_point, qmin, qmax)``, ties to even.

    Args:
        a: as for ``matmul_integers``, as are ``b``, the zero points, ``bias`` and ``isa``.
        b: see ``a``.
        multiplier: above 0, float32, or (N,) of them: input scale x weight scale / output scale.
        zero_point: of the output.
        qmin: lowest code of the output; ``zero_point`` makes it a ReLU.
        qmax: highest code of the output.
        dtype: of the output, int8 or uint8.
        a_zero_point: see ``a``.
        b_zero_point: see ``a``.
        bias: see ``a``.
        isa: see ``a``.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape does not match, or the codes do not fit ``dtype``.
    """
    zero_point, qmin, qmax = checked_codes(
        limits_of(dtype, EIGHT_BIT_LIMITS), zero_point, qmin, qmax
    )
    call = _prepare(a, b, a_zero_point, b_zero_point, bias, isa)
    scale = reals_of("multiplier", multiplier, call.shape[-1], Reals.POSITIVE)
    if call.kit is None:
        codes = requantize_numpy(call.accumulator, scale, zero_point, qmin, qmax)
        return codes.astype(dtype).reshape(call.shape)
    result = np.empty(call.shape, dtype)
    if result.size:
        flat = result.view(np.int8).reshape(-1, call.shape[-1])
        call.kit.requantized.run_all(
            call.tasks, *call.arguments, flat, scale, zero_point, qmin, qmax
        )
    return result


def matmul_dequantized(
    a: NDArray[Any],
    b: NDArray[Any] | PackedWeight,
    *,
    row_scale: float | Floats,
    column_scale: float | Floats,
    bias: Floats | None = None,
    a_zero_point: int = 0,
    b_zero_point: int | Integers = 0,
    isa: KernelPath | None = None,
) -> Floats:
    """``float32(accumulator) * (row_scale * column_scale) + bias``, float32.

    Args:
        a: as for ``matmul_integers``, as are ``b``, the zero points and ``isa``.
        b: see ``a``.
        row_scale: finite, float32, or one for each of the M x ... rows of ``a`` (per token).
        column_scale: finite, float32, or (N,) of them (per channel).
        bias: (N,) float32, finite.
        a_zero_point: see ``a``.
        b_zero_point: see ``a``.
        isa: see ``a``.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape does not match.
    """
    call = _prepare(a, b, a_zero_point, b_zero_point, None, isa)
    rows = prod(call.shape[:-1])
    down = reals_of("row_scale", row_scale, rows, Reals.FINITE)
    across = reals_of("column_scale", column_scale, call.shape[-1], Reals.FINITE)
    shift = None if bias is None else reals_of("bias", bias, call.shape[-1], Reals.FINITE)
    if call.kit is None:
        return dequantize_numpy(call.accumulator, down, across, shift).reshape(call.shape)
    result = np.empty(call.shape, np.float32)
    if result.size:
        flat = result.reshape(-1, call.shape[-1])
        call.kit.dequantized.run_all(
            call.tasks, *call.arguments, flat, down, across, NO_FLOATS if shift is None else shift
        )
    return result


@dataclass(frozen=True, slots=True)
class _Call:
    """A product ready to run as ``tasks`` of a kernel; without a kernel, done by NumPy already."""

    shape: tuple[int, ...]
    kit: Kernels | None
    tasks: int
    arguments: tuple[Any, ...]
    accumulator: NDArray[np.int32]


def _prepare(
    a: NDArray[Any],
    b: NDArray[Any] | PackedWeight,
    a_zero: int,
    b_zero: int | Integers,
    bias: Integers | None,
    isa: KernelPath | None,
) -> _Call:
    """Check the operands, pack ``b`` if need be, work out the column terms."""
    a_sign, a_zero = checked_sign("a", a), checked_integer("a_zero_point", a_zero, *INT32_ENDS)
    weight = b if isinstance(b, PackedWeight) else pack_weight(b, isa=isa)
    if isa is not None:
        choose(isa)
    k, n = weight.shape
    if a.ndim < 2 or a.shape[-1] != k:
        raise ValueError(
            f"a has shape {a.shape}; allowed is (..., M, {k}) for b of shape {weight.shape}"
        )
    shape = (*a.shape[:-1], n)
    m = prod(shape[:-1])
    flat = a if a.ndim == 2 else a.reshape(m, k)
    zeros = (
        NO_INTS if type(b_zero) is int and not b_zero else integers_of("b_zero_point", b_zero, n)
    )
    added = NO_INTS if bias is None else integers_of("bias", bias, n)
    kit = kernels(weight.isa)
    if kit is None:
        raw = matmul_numpy(flat, weight.panels)
        return _Call(
            shape, None, 0, (), correct_numpy(raw, flat, weight.panels, a_zero, zeros, added)
        )
    tasks = tasks_for(m * n * k)
    space = room(tasks, prepacked_room(kit.tile, k, n))
    left = (as_bytes(flat), a_sign, a_zero)
    right = (weight.panels, weight.sums, weight.shift, zeros, added)
    return _Call(
        shape,
        kit,
        tasks,
        (*left, *right, rows_of_block(kit.tile, k), space, *grid(tasks, m, n)),
        NO_SUMS,
    )
