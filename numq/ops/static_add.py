"""Static addition: two tensors of codes with scales of their own, one with a third.

    y = clamp(round((s_a·(a − z_a) + s_b·(b − z_b)) / s_y) + z_y)

The two factors s_a/s_y and s_b/s_y become integers over one power of two,
m = round(2ⁿ·s/s_y), and the sum is rounded once, half up:

    y = clamp(((m_a·(a − z_a) + m_b·(b − z_b) + 2ⁿ⁻¹) >> n) + z_y)                       (1)

n is the largest for which nothing leaves int32: |a − z_a| and |b − z_b| are at most 255. Each m is
off by at most ½, so the sum by at most 255 of 2ⁿ: where the exact result is farther than 255/2ⁿ
from a tie, (1) is the exact result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import IntArray
from numq.formats import IntFormat
from numq.ops.static import check_codes, check_input
from numq.qparams import QParams


@dataclass(frozen=True, eq=False)
class StaticAdd:
    """An addition of codes, prepared by `prepare_static_add`.

    Attributes:
        formats: the codes of a and b.
        zero_points: of a and b.
        multipliers: m_a and m_b.
        shift: n.
        out: parameters of the output.
        qmin: lower clamp; a fused ReLU raises it to the zero point.
    """

    formats: tuple[IntFormat, IntFormat]
    zero_points: tuple[int, int]
    multipliers: tuple[int, int]
    shift: int
    out: QParams
    qmin: int


def prepare_static_add(a: QParams, b: QParams, out: QParams, *, relu: bool = False) -> StaticAdd:
    """The offline half (com.microsoft QLinearAdd).

    Args:
        a: parameters of the first summand, per tensor, 8 bits or fewer.
        b: the same of the second.
        out: the same of the sum.
        relu: fuse a ReLU: clamp at the output's zero point.

    Raises:
        ValueError: other parameters, or scales so far apart that no shift holds both.
    """
    for params in (a, b, out):
        check_input(params)
    factors = [float(p.scale) / float(out.scale) for p in (a, b)]
    # 255·(m_a + m_b) + 2ⁿ⁻¹ < 2³¹ where m_a + m_b ≤ 2ⁿ·Σ factors + 1.
    shift = min(30, math.floor(math.log2((2**31 - 512) / (255 * sum(factors) + 0.5))))
    if shift < 8:
        raise ValueError(
            f"scales are {float(a.scale):g}, {float(b.scale):g} and {float(out.scale):g} (the "
            "output's); the output's range is too small for its inputs"
        )
    multipliers = [round(f * 2**shift) for f in factors]
    zero = int(out.zero_point)
    return StaticAdd(
        (a.format, b.format),
        (int(a.zero_point), int(b.zero_point)),
        (multipliers[0], multipliers[1]),
        shift,
        out,
        max(out.format.qmin, zero) if relu else out.format.qmin,
    )


def add_static(a: ArrayLike, b: ArrayLike, layer: StaticAdd) -> IntArray:
    """The run-time half, equation (1); shapes broadcast.

    Raises:
        TypeError: codes of another dtype than the layer's formats.
        ValueError: codes outside them, or shapes that do not broadcast.
    """
    x, y = (check_codes(c, fmt) for c, fmt in zip((a, b), layer.formats, strict=True))
    (z_a, z_b), (m_a, m_b) = layer.zero_points, layer.multipliers
    # The zero points and the rounding go into one constant, which int32 holds for the same reason.
    constant = (1 << (layer.shift - 1)) - m_a * z_a - m_b * z_b
    total = np.multiply(x, np.int32(m_a), dtype=np.int32)
    with np.errstate(over="ignore"):  # terms may wrap one by one; modulo 2³² the sum is right
        total = total + np.multiply(y, np.int32(m_b), dtype=np.int32)
        total += np.array(constant).astype(np.int64).astype(np.int32)
    total >>= layer.shift
    total += np.int32(layer.out.zero_point)
    return np.clip(total, layer.qmin, layer.out.format.qmax).astype(layer.out.format.dtype)
