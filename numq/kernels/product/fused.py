"""Products of whole quantized layers: zero points, bias, and the way out of int32, in one pass.

All take ``a`` (..., M, K) and ``b`` (K, N), 8 bits each, with ``real = scale * (value -
zero_point)``. The accumulator is

    accumulator = (a - a_zero_point) @ (b - b_zero_point) + bias        int32, modulo 2**32

Each prepares the product and runs it once. What runs often is prepared once: see `prepared`.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.machine.cpu import KernelPath
from numq.kernels.operands import Reals, checked_out, checked_sign, reals_of
from numq.kernels.product.prepared import Integers, PreparedProduct, prepare_product
from numq.kernels.product.ways import NO_FLOATS, dequantized, integers, requantized
from numq.kernels.product.weights import PackedWeight, pack_weight
from numq.requantization import Requantization

Floats = NDArray[np.float32]


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
        isa: the kernel; None takes ``NUMQ_ISA`` or the best. A packed weight brings its own.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: an argument has a shape that does not match.
    """
    checked_sign("a", a)
    product = prepare_product(
        b, integers(), a_dtype=a.dtype, a_zero_point=a_zero_point, b_zero_point=b_zero_point,
        bias=bias, isa=isa,
    )  # fmt: skip
    return run_rows(product, a, out)


def matmul_requantized(
    a: NDArray[Any],
    b: NDArray[Any] | PackedWeight,
    *,
    multiplier: Any,
    shift: Any = 0,
    requantization: Requantization = Requantization.F32_EVEN,
    zero_point: int = 0,
    qmin: int = -128,
    qmax: int = 127,
    dtype: Any = np.int8,
    a_zero_point: int = 0,
    b_zero_point: int | Integers = 0,
    bias: Integers | None = None,
    isa: KernelPath | None = None,
) -> NDArray[Any]:
    """``clamp(round(accumulator * multiplier) + zero_point, qmin, qmax)``, codes.

    Args:
        a: as for ``matmul_integers``, as are ``b``, the zero points, ``bias`` and ``isa``.
        b: see ``a``.
        multiplier: one number or (N,) of them, input scale x weight scale / output scale: above 0,
            float32, or what ``requantization`` says.
        shift: beside an int32 multiplier, see `requantized`.
        requantization: the arithmetic, one that is compiled; by default float32, ties to even.
        zero_point: of the output.
        qmin: lowest code of the output; ``zero_point`` makes it a ReLU.
        qmax: highest code of the output.
        dtype: of the output, int8, uint8, int16 or uint16.
        a_zero_point: see ``a``.
        b_zero_point: see ``a``.
        bias: see ``a``.
        isa: see ``a``.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape does not match, or the codes do not fit ``dtype``.
    """
    checked_sign("a", a)
    weight = b if isinstance(b, PackedWeight) else pack_weight(b, isa=isa)
    way = requantized(
        requantization, multiplier, shift, channels=weight.shape[1], zero_point=zero_point,
        qmin=qmin, qmax=qmax, dtype=dtype,
    )  # fmt: skip
    product = prepare_product(
        weight, way, a_dtype=a.dtype, a_zero_point=a_zero_point, b_zero_point=b_zero_point,
        bias=bias, isa=isa,
    )  # fmt: skip
    return run_rows(product, a)


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
    checked_sign("a", a)
    weight = b if isinstance(b, PackedWeight) else pack_weight(b, isa=isa)
    across = reals_of("column_scale", column_scale, weight.shape[1], Reals.FINITE)
    product = prepare_product(
        weight, dequantized(across, bias, weight.shape[1]), a_dtype=a.dtype,
        a_zero_point=a_zero_point, b_zero_point=b_zero_point, isa=isa,
    )  # fmt: skip
    _check_rows(a, weight)
    down = reals_of("row_scale", row_scale, prod(a.shape[:-1]), Reals.FINITE)
    return run_rows(product, a, row_scale=down)


def _check_rows(a: NDArray[Any], weight: PackedWeight) -> None:
    """Refuse an A whose rows the weight cannot multiply."""
    k = weight.shape[0]
    if a.ndim < 2 or a.shape[-1] != k:
        raise ValueError(
            f"a has shape {a.shape}; allowed is (..., M, {k}) for b of shape {weight.shape}"
        )


def run_rows(
    product: PreparedProduct,
    a: NDArray[Any],
    out: NDArray[Any] | None = None,
    row_scale: NDArray[np.float32] = NO_FLOATS,
) -> NDArray[Any]:
    """Run it on the rows of all leading axes."""
    _check_rows(a, product.weight)
    k, n = product.weight.shape
    shape = (*a.shape[:-1], n)
    if out is not None:
        checked_out(out, shape, product.way.dtype, a)
    m = prod(a.shape[:-1])
    flat = out if out is None or a.ndim == 2 else out.reshape(m, n)
    return product(a if a.ndim == 2 else a.reshape(m, k), row_scale=row_scale, out=flat).reshape(
        shape
    )
