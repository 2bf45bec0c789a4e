"""Zero points and bias, folded: what a product of bytes as they are stored lacks.

The kernels multiply what packing has stored, ``X = x + d`` and ``W = w + e``: as A, int8 is stored
with 128 more where the instruction wants it unsigned; as B, uint8 with 128 less. So

    accumulator = sum (x - x_zero) * (w - w_zero) + bias
                = sum X * W  +  bias - (x_zero + d) * sum (w - w_zero)  -  (w_zero + e) * sum X
                                `---------- term of a channel ---------'   `- factor of it

modulo 2**32. The terms are known beforehand; factors are 0 for most weights, and where they are not
the kernel sums what it has packed of x.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SPARE_TERMS = 64  #: numbers that a kernel may read beyond the last channel, a few vectors of them
NO_INTS: NDArray[np.int32] = np.empty(0, np.int32)


class Folded(NamedTuple):
    """The corrections of a product, int32."""

    terms: NDArray[np.int32]  #: (N,) and ``SPARE_TERMS`` zeros
    factors: NDArray[np.int32]  #: (N,) of the sums of X; empty where all are 0
    sums: NDArray[np.int32]  #: (N,) ``-sum (w - w_zero)``: of zero points that are yet to come


def folded(
    sums: NDArray[np.int32],
    depth: int,
    *,
    x_zero: int,
    w_zero: NDArray[np.int32],
    bias: NDArray[np.int32],
    x_stored: int,
    w_stored: int,
) -> Folded:
    """Fold.

    Args:
        sums: (N,) ``sum w`` of each channel.
        depth: products in one sum.
        x_zero: zero point of x.
        w_zero: (N,) zero points of the channels; empty for zeros.
        bias: (N,) int32; empty for zeros.
        x_stored: d, what packing adds to x.
        w_stored: e, what it adds to w.
    """
    less = sums - np.int32(depth) * w_zero if w_zero.size else sums
    terms = np.zeros(less.size + SPARE_TERMS, np.int32)
    products = _wrapped(-(x_zero + x_stored)) * less
    terms[: less.size] = bias + products if bias.size else products
    factors = NO_INTS
    if w_zero.size:
        factors = -(w_zero + np.int32(w_stored))
        factors = factors if factors.any() else NO_INTS
    elif w_stored:
        factors = np.full(less.size, -w_stored, np.int32)
    return Folded(terms, factors, -less)


def _wrapped(number: int) -> np.int32:
    """An integer modulo 2**32."""
    return np.int32((number + 2**31) % 2**32 - 2**31)


def stored_as_a(sign: int, shift: int) -> int:
    """What packing as A adds to int8 (``sign`` 0x80) or uint8 (0); ``shift`` is the tile's."""
    return shift if sign else 0


def stored_as_b(sign: int) -> int:
    """What packing as B adds."""
    return 0 if sign else -128
