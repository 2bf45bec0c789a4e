"""Integer products with zero points, in int32.

    Σ_k (x_ik − z_x)(w_kj − z_w)                                              (naive)
  = Σ_k x_ik·w_kj − z_w·Σ_k x_ik − z_x·Σ_k w_kj + K·z_x·z_w                   (folded)

The folded form multiplies the 8-bit codes as they are; the sums over x cost a row, the sums over w
are known offline (gemmlowp, `doc/low-precision.md`). Its four terms may wrap in int32 one by one:
modulo 2^32 the result is the same, and it fits whenever the naive sum does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numq.arguments import integer, shown
from numq.arrays import Array, IntArray, as_int
from numq.kernels import Isa, PackedWeight, matmul
from numq.kernels.product.prepared import prepare_product
from numq.kernels.product.ways import integers

_EIGHT_BITS = (np.dtype(np.int8), np.dtype(np.uint8))


_ALWAYS_FITS = 33025  # the K up to which any 8-bit codes fit


def max_depth(a_low: int, a_high: int, b_low: int, b_high: int) -> int:
    """The longest sum of products of values in [a_low, a_high] · [b_low, b_high] int32 can hold.

    Raises:
        TypeError: an end that is no integer.
        ValueError: a high end below its low one.

    >>> max_depth(-128, 127, -128, 127), max_depth(0, 255, -128, 127), max_depth(0, 255, 0, 255)
    (131071, 65793, 33025)
    """
    for name, low, high in (("a_high", a_low, a_high), ("b_high", b_low, b_high)):
        integer(high, name, integer(low, name.replace("high", "low")))
    corners = [a * b for a in (a_low, a_high) for b in (b_low, b_high)]
    limits = [(2**31 - 1) // c if c > 0 else 2**31 // -c for c in corners if c]
    return min(limits, default=2**31 - 1)


def matmul_int8(a: ArrayLike, b: ArrayLike | PackedWeight, *, isa: Isa | None = None) -> IntArray:
    """Exact product of 8-bit integer matrices: (..., M, K) × (..., K, N) → (..., M, N) int32.

    Batch dimensions broadcast and vectors are promoted as `numpy.matmul` does. The bits are the
    same with every instruction set and with any number of threads (`numq.kernels.set_threads`).

    Args:
        a: int8 or uint8, any strides; zero-size dimensions are fine.
        b: int8 or uint8, any strides; or a (K, N) weight packed once by `pack_weight`.
        isa: one of `numq.kernels.available()`; None takes the one that the environment variable
            NUMQ_ISA names, else the best. A packed weight brings its own.

    Raises:
        TypeError: a dtype other than int8 and uint8.
        ValueError: shapes that do not fit, an `isa` that this process cannot run, or a K at
            which the sum could leave int32 (131 072 for int8 · int8).

    >>> matmul_int8(np.array([[-128, 127]], np.int8), np.array([[-128], [1]], np.int8))
    array([[16511]], dtype=int32)
    """
    if type(a) is type(b) is np.ndarray:  # of the 2 µs of a small product none is for checks
        try:
            if a.shape[-1] <= _ALWAYS_FITS:
                return matmul(a, b, isa=isa)
        except (TypeError, ValueError, IndexError):
            pass  # the checks below say why
    x = eight_bit(a, "a")
    y = b if isinstance(b, PackedWeight) else eight_bit(b, "b")
    if not x.ndim or not len(y.shape):
        raise ValueError(
            f"a has shape {x.shape}, b {y.shape}; allowed is one axis and more for each"
        )
    inner = y.shape[-2] if len(y.shape) > 1 else y.shape[0]
    if x.shape[-1] != inner:
        raise ValueError(
            f"a has shape {x.shape}, b {y.shape}; allowed are (..., M, K) and (..., K, N), as K "
            "must agree"
        )
    check_depth(inner, ends(x.dtype), ends(y.dtype))
    return matmul(x, y, isa=isa)


def accumulate(
    x: ArrayLike, x_zero_point: ArrayLike, w: ArrayLike | PackedWeight, w_zero_point: ArrayLike
) -> IntArray:
    """`Σ_k (x − z_x)(w − z_w)` in the folded form, on the integer kernel.

    Args:
        x: (M, K) int8 or uint8 codes.
        x_zero_point: zero point of x: a scalar, or (M,) one per row.
        w: (K, N) int8 or uint8 codes, or packed by `pack_weight`.
        w_zero_point: zero point of w: a scalar, or (N,) one per column.

    Returns:
        (M, N) int32, exact.

    Raises:
        TypeError: dtypes other than 8-bit codes and integer zero points.
        ValueError: shapes that do not fit, zero points that are no codes of the dtype, or a K at
            which the sum could leave int32.
    """
    codes_x, codes_w = _eight_bit_matrix(x, "x"), _weight(w)
    zero_x, zero_w = check_operands(codes_x, x_zero_point, codes_w, w_zero_point)
    one = zero_x.size == 1 and codes_x.shape[0] != 1
    product = prepare_product(
        codes_w, integers(), a_dtype=codes_x.dtype,
        a_zero_point=int(zero_x[0, 0]) if one else 0,
        b_zero_point=np.array(np.broadcast_to(zero_w[0], codes_w.shape[1])),
    )  # fmt: skip
    return product(codes_x) if one else product(codes_x, row_zero_point=zero_x[:, 0])


def check_operands(
    codes_x: IntArray,
    x_zero_point: ArrayLike,
    codes_w: IntArray | PackedWeight,
    w_zero_point: ArrayLike,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The zero points as (M or 1, 1) and (1, N or 1), once shapes and K are known to be good."""
    if codes_x.shape[1] != codes_w.shape[0]:
        raise ValueError(
            f"x has shape {codes_x.shape}, w {codes_w.shape}; allowed are (M, K) and (K, N), as K "
            "must agree"
        )
    zero_x = zero_points(x_zero_point, codes_x.shape[0], "x_zero_point", codes_x.dtype).reshape(
        -1, 1
    )
    zero_w = zero_points(w_zero_point, codes_w.shape[1], "w_zero_point", codes_w.dtype).reshape(
        1, -1
    )
    check_depth(codes_x.shape[1], ends(codes_x.dtype, zero_x), ends(codes_w.dtype, zero_w))
    return zero_x, zero_w


def _weight(w: ArrayLike | PackedWeight) -> IntArray | PackedWeight:
    return w if isinstance(w, PackedWeight) else _eight_bit_matrix(w, "w")


def eight_bit(x: ArrayLike, name: str) -> IntArray:
    """`x` as int8 or uint8 codes; TypeError names any other dtype."""
    array = as_int(x, name)
    if array.dtype not in _EIGHT_BITS:
        raise TypeError(f"{name} has dtype {array.dtype}; allowed are int8 and uint8")
    return array


def _eight_bit_matrix(x: ArrayLike, name: str) -> IntArray:
    array = eight_bit(x, name)
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}; allowed is a matrix")
    return array


def zero_points(z: ArrayLike, count: int, name: str, codes: np.dtype[Any]) -> NDArray[np.int32]:
    """`z` as int32, () or (count,), each one of the codes' dtype, as in ONNX."""
    array = as_int(z, name)
    if array.shape not in ((), (count,)):
        raise ValueError(f"{name} has shape {array.shape}; allowed are () and ({count},)")
    info = np.iinfo(codes)
    if array.size and (array.min() < info.min or array.max() > info.max):
        raise ValueError(
            f"{name} is {shown(array) if array.ndim else array}, reaching from {array.min()} to "
            f"{array.max()}; allowed for {codes} codes are {info.min} to {info.max}"
        )
    return array.astype(np.int32)


def ends(dtype: np.dtype[Any], zero_point: Array | None = None) -> tuple[int, int]:
    """Smallest and largest `code − zero_point`."""
    info = np.iinfo(dtype)
    if zero_point is None or not zero_point.size:
        return int(info.min), int(info.max)
    return int(info.min) - int(zero_point.max()), int(info.max) - int(zero_point.min())


def check_depth(depth: int, a: tuple[int, int], b: tuple[int, int]) -> None:
    """Refuse a sum of `depth` products of values in [a] and [b] that could leave int32."""
    limit = max_depth(*a, *b)
    if depth > limit:
        raise ValueError(
            f"K is {depth}; allowed are sums that are sure to fit int32: of products of [{a[0]}, "
            f"{a[1]}] and [{b[0]}, {b[1]}] up to K = {limit}; split K and add the parts in int64"
        )
