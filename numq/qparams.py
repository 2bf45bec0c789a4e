"""`QParams`: the numbers that give integer codes a meaning, real = scale · (code − zero_point)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import flag
from numq.arrays import Array, FloatArray, as_float, as_int, check_finite, check_type, frozen
from numq.formats import Format
from numq.granularity import Granularity, PerTensor
from numq.scales import (
    NUMQ_FLOOR,
    Affine,
    ScaleFloor,
    ScaleFormat,
    Scheme,
    Symmetric,
    SymmetricRange,
    Target,
    scale_and_zero_point,
)


@dataclass(frozen=True, eq=False)
class QParams:
    """Scale and zero point of a tensor: frozen, checked, with read-only arrays.

    Attributes:
        scale: floats of `scale_format`, finite and positive; shape as the granularity gives it:
            () per tensor, (C,) per channel.
        zero_point: int32 of the same shape (a scalar is broadcast), within the format's codes; 0
            for floats and tables.
        format: the codes.
        granularity: which elements each scale belongs to.
        scale_format: what scales are stored in. A given scale is rounded to float32; to float16
            only if that costs no more than half a unit of its 11 bits; never to a power of two.
        signed_scale: allow negative scales, as GGUF Q4_0 has (`SymmetricRange.SIGNED_MAX`).

    Raises:
        TypeError: a zero point that is not an integer, a scale that is not a number.
        ValueError: any of the rules above; the message names the value and what is allowed.

    >>> from numq.formats import INT8
    >>> QParams(0.5, 3, INT8)
    QParams(int8, per tensor, scale 0.5, zero_point 3, covers [-65.5, 62])
    """

    scale: Array
    zero_point: Array
    format: Format
    granularity: Granularity = PerTensor()
    scale_format: ScaleFormat = ScaleFormat.FLOAT32
    signed_scale: bool = False

    def __init__(
        self,
        scale: ArrayLike,
        zero_point: ArrayLike,
        format: Format,
        granularity: Granularity = PerTensor(),
        scale_format: ScaleFormat = ScaleFormat.FLOAT32,
        signed_scale: bool = False,
    ) -> None:
        """Check everything, then freeze."""
        check_type(format, Format, "format")
        check_type(granularity, Granularity, "granularity")
        check_type(scale_format, ScaleFormat, "scale_format")
        signed_scale = flag(signed_scale, "signed_scale")
        scales = _checked_scale(scale, scale_format, signed_scale)
        zero_points = _checked_zero_point(zero_point, format, scales.shape)
        if granularity.scale_ndim not in (None, scales.ndim):
            raise ValueError(
                f"scale has shape {scales.shape}; {granularity} has {granularity.scale_ndim}-"
                "dimensional scales"
            )
        fields = {
            "scale": scales,
            "zero_point": zero_points,
            "format": format,
            "granularity": granularity,
            "scale_format": scale_format,
            "signed_scale": signed_scale,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def range(self) -> tuple[FloatArray, FloatArray]:
        """The smallest and the largest real number each block can hold, float64."""
        scale = self.scale.astype(np.float64)
        zero_point = self.zero_point.astype(np.int64)
        ends = [scale * (end - zero_point) for end in (self.format.lowest, self.format.highest)]
        return np.minimum(*ends), np.maximum(*ends)

    @property
    def nbytes(self) -> int:
        """Bytes of the scales, and of the packed zero points unless all of them are 0."""
        zero_points = self.format.packed_nbytes(self.zero_point.size)
        return int(self.scale.nbytes + (zero_points if self.zero_point.any() else 0))

    def __eq__(self, other: object) -> bool:
        """Equal in every field, arrays by value."""
        if not isinstance(other, QParams):
            return NotImplemented
        mine = (self.format, self.granularity, self.scale_format, self.signed_scale)
        theirs = (other.format, other.granularity, other.scale_format, other.signed_scale)
        same_arrays = np.array_equal(self.scale, other.scale) and np.array_equal(
            self.zero_point, other.zero_point
        )
        return mine == theirs and same_arrays

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[QParams], tuple[object, ...]]:
        """What is copied or unpickled is checked and frozen as anything else."""
        given = (self.scale, self.zero_point, self.format, self.granularity)
        return QParams, (*given, self.scale_format, self.signed_scale)

    def __repr__(self) -> str:
        """One line: format, granularity, scales, zero points, range covered."""
        low, high = self.range
        covers = f"[{low.min():.6g}, {high.max():.6g}]" if low.size else "nothing"
        name = "per tensor" if isinstance(self.granularity, PerTensor) else repr(self.granularity)
        return (
            f"QParams({self.format.name}, {name}, scale {_span(self.scale)}, "
            f"zero_point {_span(self.zero_point)}, covers {covers})"
        )


def _span(values: Array) -> str:
    """`0.5` for a scalar, `(64,) in 0.1…0.3` for an array."""
    if not values.size:
        return f"{values.shape}"
    show = "{:d}" if values.dtype.kind in "iu" else "{:.6g}"
    low, high = show.format(values.min()), show.format(values.max())
    if values.ndim == 0:
        return low
    return f"{values.shape} " + (f"= {low}" if low == high else f"in {low}…{high}")


def _checked_scale(scale: ArrayLike, scale_format: ScaleFormat, signed: bool) -> Array:
    given = as_float(scale, "scale")
    check_finite(given, "scale")
    with np.errstate(over="ignore", under="ignore"):
        stored = given.astype(scale_format.dtype)
    allowed = "finite and not 0" if signed else "finite and positive"
    good = np.isfinite(stored) & ((stored != 0) if signed else (stored > 0))
    if not good.all():
        bad = given[~good].flat[0] if given.ndim else given
        raise ValueError(f"scale is {bad} as {scale_format.name}; it must be {allowed}")
    if scale_format is ScaleFormat.FLOAT16:
        lost = np.abs(stored.astype(np.float64) / given - 1) > 2.0**-11
        if lost.any():
            raise ValueError(
                f"scale is {_span(given)}, which FLOAT16 holds only as {_span(stored)}"
            )
    if scale_format is ScaleFormat.POWER_OF_TWO and (np.abs(np.frexp(given)[0]) != 0.5).any():
        raise ValueError(f"scale is {_span(given)}; POWER_OF_TWO allows powers of two only")
    return frozen(stored)


def _checked_zero_point(zero_point: ArrayLike, fmt: Format, shape: tuple[int, ...]) -> Array:
    given = as_int(zero_point, "zero_point")
    if given.shape not in ((), shape):
        raise ValueError(f"zero_point has shape {given.shape}; the scale has {shape}")
    allowed = fmt.zero_points
    if given.size and (given.min() < allowed.start or given.max() >= allowed.stop):
        which = repr(fmt) if len(allowed) > 1 else f"0 for {fmt.name}, which has no zero point"
        raise ValueError(f"zero_point is {_span(given)}; allowed is {which}")
    return frozen(np.broadcast_to(given, shape).astype(np.int32))


def choose_qparams(
    rmin: ArrayLike,
    rmax: ArrayLike,
    fmt: Format,
    *,
    scheme: Scheme = Affine(),
    granularity: Granularity = PerTensor(),
    scale_format: ScaleFormat = ScaleFormat.FLOAT32,
    floor: ScaleFloor = NUMQ_FLOOR,
) -> QParams:
    """Scale and zero point for real ranges.

    | range | result |
    |---|---|
    | contains zero | the scheme's formula |
    | on one side of zero, or one constant c ≠ 0 | extended to zero first |
    | only zero | `floor.all_zero` (1.0) |
    | below the normal float32 numbers | `floor.replacement` (1.18e-38) |
    | difference overflows float32 | computed in float64, so nothing happens |
    | NaN, ±inf, rmin > rmax | ValueError |

    Args:
        rmin: smallest values, of the granularity's scale shape.
        rmax: largest values, of the same shape.
        fmt: the codes to spread over the range.
        scheme: `Affine()` or `Symmetric()`, with their conventions.
        granularity: which elements each range belongs to.
        scale_format: what the scale is rounded to before the zero point is computed from it.
        floor: what tiny and zero scales become.

    >>> from numq.formats import UINT8
    >>> choose_qparams(-1.0, 1.55, UINT8)
    QParams(uint8, per tensor, scale 0.01, zero_point 100, covers [-1, 1.55])
    """
    check_type(fmt, Format, "fmt")
    check_type(scheme, Affine | Symmetric, "scheme")
    check_type(floor, ScaleFloor, "floor")
    lo, hi = as_float(rmin, "rmin"), as_float(rmax, "rmax")
    check_finite(lo, "rmin")
    check_finite(hi, "rmax")
    if lo.shape != hi.shape:
        raise ValueError(f"rmin has shape {lo.shape}, rmax {hi.shape}; they must be equal")
    if (lo > hi).any():
        raise ValueError(f"rmin is {_span(lo)} and rmax {_span(hi)}; rmin must not exceed rmax")
    target = Target(fmt, scheme, scale_format, floor)
    scale, zero_point = scale_and_zero_point(lo, hi, target)
    signed = isinstance(scheme, Symmetric) and scheme.range is SymmetricRange.SIGNED_MAX
    return QParams(scale, zero_point, fmt, granularity, scale_format, signed)
