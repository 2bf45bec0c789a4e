"""From a range to parameters: scale, and zero point or offset, as floats or as codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import FloatArray, IntArray, as_float, check_finite
from numq.formats import FLOAT32, FloatFormat, Format
from numq.granularity import Granularity, PerTensor, spread_out
from numq.qparams import Coded, QParams, span
from numq.rounding import Rounding
from numq.scales import (
    NUMQ_FLOOR,
    Affine,
    Offset,
    ScaleFloor,
    Scheme,
    Target,
    exact_offset,
    exact_scale,
    scale_and_zero_point,
    spread_of,
    zero_points,
)


def choose_qparams(
    rmin: ArrayLike,
    rmax: ArrayLike,
    format: Format,
    *,
    scheme: Scheme = Affine(),
    granularity: Granularity = PerTensor(),
    scale_format: FloatFormat = FLOAT32,
    scale_rounding: Rounding = Rounding.HALF_EVEN,
    floor: ScaleFloor = NUMQ_FLOOR,
    scales: Callable[[FloatArray], Coded] | None = None,
    offsets: Callable[[FloatArray], Coded] | None = None,
) -> QParams:
    """Scale, and zero point or offset, for real ranges.

    | range | result |
    |---|---|
    | contains zero | the scheme's formula |
    | on one side of zero, or one constant c ≠ 0 | extended to zero first (not by `Offset`) |
    | only zero | `floor.all_zero` (1.0) |
    | below the normal float32 numbers | `floor.replacement` (1.18e-38) |
    | difference overflows float32 | computed in float64, so nothing happens |
    | NaN, ±inf, rmin > rmax | ValueError |

    Args:
        rmin: smallest values, of the granularity's scale shape.
        rmax: largest values, of the same shape.
        format: the codes to spread over the range.
        scheme: `Affine()`, `Symmetric()` or `Offset()`, with their conventions.
        granularity: which elements each range belongs to.
        scale_format: what the scale is rounded to before the zero point or offset is computed
            from it.
        scale_rounding: how, by its magnitude: CEIL never makes a range smaller.
        floor: what tiny and zero scales become; not asked where `scales` is given.
        scales: makes codes of the exact scales, in place of `scale_format` (a `Quantizer`). A
            scale whose code would stand for 0 gets that of the smallest number above.
        offsets: the same of the offsets.

    >>> from numq.formats import UINT8
    >>> choose_qparams(-1.0, 1.55, UINT8)
    QParams(uint8, per tensor, scale 0.01, zero_point 100, covers [-1, 1.55])
    """
    target = Target(format, scheme, scale_format, scale_rounding, floor)
    lo, hi = _checked_range(rmin, rmax)
    if scales is None:
        scale, zero_point = scale_and_zero_point(lo, hi, target)
        kept: FloatArray | Coded = scale
    else:
        kept, scale, zero_point = _two_levels(lo, hi, target, scales)
    offset = _offset(lo, scale, target, offsets) if isinstance(scheme, Offset) else None
    return QParams(kept, zero_point, format, granularity, scale_format, target.signed_scale, offset)


def _two_levels(
    lo: FloatArray, hi: FloatArray, target: Target, scales: Callable[[FloatArray], Coded]
) -> tuple[Coded, FloatArray, IntArray]:
    """Scales that are codes, what these stand for, and the zero points that go with that."""
    ends = spread_of(lo, hi, target.scheme)
    kept = _above_zero(exact_scale(*ends, target), scales)
    scale = kept.dequantize()
    return kept, scale, zero_points(*ends, scale, target)


def _checked_range(rmin: ArrayLike, rmax: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Finite numbers of one shape, in order."""
    lo, hi = as_float(rmin, "rmin"), as_float(rmax, "rmax")
    check_finite(lo, "rmin")
    check_finite(hi, "rmax")
    if lo.shape != hi.shape:
        raise ValueError(f"rmin has shape {lo.shape}, rmax {hi.shape}; allowed is one shape")
    if (lo > hi).any():
        raise ValueError(f"rmin is {span(lo)} and rmax {span(hi)}; allowed is rmin <= rmax")
    return lo, hi


def _above_zero(scale: FloatArray, scales: Callable[[FloatArray], Coded]) -> Coded:
    """Codes of the scales, none of which stands for 0: the block would be lost."""
    made = scales(scale)
    params, zero = made.qparams, made.dequantize() == 0
    if not zero.any():
        return made
    shape = made.codes.shape
    outer, shift = (
        spread_out(part, params.granularity, shape) for part in (params.scale, params.zero_point)
    )
    smallest = params.format.smallest * np.copysign(1.0, scale) * np.copysign(1.0, outer)
    return made.with_codes(np.where(zero, params.format.encode(smallest, offset=shift), made.codes))


def _offset(
    rmin: FloatArray,
    scale: FloatArray,
    target: Target,
    offsets: Callable[[FloatArray], Coded] | None,
) -> FloatArray | Coded:
    """The offsets as they are stored, to nearest."""
    exact, format = exact_offset(rmin, scale, target.format), target.scale_format
    if offsets is not None:
        return offsets(exact)
    if (np.abs(exact) > format.highest).any():
        raise ValueError(
            f"offset is {span(exact)}; allowed for {format.name} is up to {format.highest:g}"
        )
    return format.nearest(exact)
