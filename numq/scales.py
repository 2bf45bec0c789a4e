"""From a range to a scale and a zero point: every convention of the field by its name.

    affine:     s = (max − min) / (qmax − qmin),  z = qmin − round(min / s)
    symmetric:  z fixed in the middle of the codes, s from the largest magnitude
    offset:     s = (max − min) / (highest − lowest),  offset = min − s · lowest

For the first two the range is first extended to contain zero, so that zero is exact. All of it is
computed in float64, so that the difference of two float32 bounds cannot overflow; the scale is then
rounded once, to the format it is stored in, and what stands beside it follows from that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np

from numq.arguments import number, shown
from numq.arrays import Array, FloatArray, IntArray, check_type
from numq.formats import FLOAT16, FLOAT32, FLOAT64, FloatFormat, Format
from numq.rounding import Overflow, Rounding, round_values


class ZeroPointRule(Enum):
    """How the affine zero point is rounded."""

    FROM_MIN = "qmin − round_half_even(min / s), clamped (ONNX, torch, ORT)"
    NEAREST_END = (
        "from the end with the smaller rounding error, half away; 0 for a range of zero (TFLite)"
    )


class SymmetricRange(Enum):
    """What the largest magnitude is divided by; for int8, whose middle is 0:."""

    RESTRICTED = "amax / 127: code −128 stays unused (ORT, TFLite weights)"
    HALF_SPAN = "amax / 127.5 (torch.ao, torchao SYMMETRIC): +amax can clip by half a step"
    FULL = "amax / 128: +amax clips by one step"
    NO_CLIP = "max(min / −128, max / 127) (torchao SYMMETRIC_NO_CLIPPING_ERR)"
    SIGNED_MAX = "signed max / −128: the scale can be negative (GGUF Q4_0 with −8)"


@dataclass(frozen=True)
class Affine:
    """A zero point of its own: the whole range is used, also when it is lopsided."""

    zero_point: ZeroPointRule = ZeroPointRule.FROM_MIN

    def __post_init__(self) -> None:
        """Refuse what is no rule."""
        check_type(self.zero_point, ZeroPointRule, "zero_point")


@dataclass(frozen=True)
class Symmetric:
    """The zero point sits in the middle: 0 for signed codes, 2^(bits−1) for unsigned ones."""

    range: SymmetricRange = SymmetricRange.RESTRICTED

    def __post_init__(self) -> None:
        """Refuse what is no convention."""
        check_type(self.range, SymmetricRange, "range")


@dataclass(frozen=True)
class Offset:
    """The minimum beside the scale, a real number (GGUF Q4_1): real = s · decode(code) + offset.

    s = (max − min) / (highest − lowest), the range as it is, not extended to zero.
    """


Scheme: TypeAlias = Affine | Symmetric | Offset


@dataclass(frozen=True)
class ScaleFloor:
    """What replaces a scale that is zero or too small to divide by.

    Attributes:
        minimum: the smallest scale that is left alone.
        replacement: what a smaller one becomes.
        all_zero: the scale of a range that is only zero.

    Raises:
        TypeError: what is no number.
        ValueError: NaN, infinity, a negative number; 0 for `all_zero`, or for `replacement` where
            `minimum` would let it in.
    """

    minimum: float
    replacement: float
    all_zero: float

    def __post_init__(self) -> None:
        """Refuse what could not stand for a scale."""
        minimum = number(self.minimum, "minimum", least=0)
        replacement = number(self.replacement, "replacement", least=0)
        if minimum > 0:
            number(self.replacement, "replacement", above=0)
        all_zero = number(self.all_zero, "all_zero", above=0)
        for name, value in zip(_FLOORS, (minimum, replacement, all_zero), strict=True):
            object.__setattr__(self, name, value)


_FLOORS = ("minimum", "replacement", "all_zero")
_TINY = float(np.finfo(np.float32).tiny)  # 1.18e-38, the smallest normal float32
_EPS = float(np.finfo(np.float32).eps)  # 1.19e-7

NUMQ_FLOOR = ScaleFloor(_TINY, _TINY, 1.0)
"""numq's default: zeros get scale 1, ranges below the normal numbers the smallest normal."""

ORT_FLOOR = ScaleFloor(_TINY, 1.0, 1.0)
"""onnxruntime.quantization.quant_utils.compute_scale_zp."""

TORCH_FLOOR = ScaleFloor(_EPS, _EPS, _EPS)
"""torch.ao observers, and torchao with eps = float32's epsilon: no scale below 1.19e-7."""

TORCHAO_FLOOR = ScaleFloor(_TINY, _TINY, _TINY)
"""torchao where eps is the smallest normal number."""

ONNX_REFERENCE_FLOOR = ScaleFloor(0.0, 0.0, 1 / 255)
"""onnx.reference DynamicQuantizeLinear: zeros get 1/255, nothing else is touched."""


Clip: TypeAlias = tuple[float | None, float | None]


@dataclass(frozen=True)
class Target:
    """What a range is wanted for: all that decides which scale it will get.

    Attributes:
        format: the codes.
        scheme: affine or symmetric, with their conventions.
        scale_format: what the scale is rounded to; what a real offset is stored in, too.
        scale_rounding: how, by its magnitude: CEIL never makes a range smaller.
        floor: what zero and tiny scales become.
        clip: (lo, hi), an end of the range that is fixed, or None.

    Raises:
        TypeError: a field of another type.
        ValueError: choices that fit no data: zero points for other than integers, negative scales
            or offsets in a format without a sign, a `SymmetricRange` that divides by what lies
            below a zero that has nothing below it; a clip whose ends are not finite numbers, the
            low one below the high one.
    """

    format: Format
    scheme: Scheme = Affine()
    scale_format: FloatFormat = FLOAT32
    scale_rounding: Rounding = Rounding.HALF_EVEN
    floor: ScaleFloor = NUMQ_FLOOR
    clip: Clip = (None, None)

    def __post_init__(self) -> None:
        """Refuse fields of other types, and a clip that is not a range."""
        check_type(self.format, Format, "format")
        check_type(self.scheme, Affine | Symmetric | Offset, "scheme")
        if isinstance(self.scheme, Affine) and len(self.format.zero_points) == 1:
            raise ValueError(
                f"scheme is {self.scheme} for {self.format.name}; allowed is Symmetric, as zero "
                "points belong to integers"
            )
        check_type(self.scale_format, FloatFormat, "scale_format")
        check_type(self.scale_rounding, Rounding, "scale_rounding")
        if self.scale_rounding is Rounding.STOCHASTIC:
            raise ValueError("scale_rounding is STOCHASTIC; allowed is any other")
        if isinstance(self.scheme, Offset) and not self.scale_format.signed:
            raise ValueError(
                f"scale_format is {self.scale_format.name}; allowed beside an offset, which is "
                "stored in it too, are signed formats"
            )
        if isinstance(self.scheme, Symmetric):
            self._check_range(self.scheme.range)
        check_type(self.floor, ScaleFloor, "floor")
        object.__setattr__(self, "clip", _checked_clip(self.clip))

    def _check_range(self, range: SymmetricRange) -> None:
        if self.signed_scale and not self.scale_format.signed:
            raise ValueError(
                f"scale_format is {self.scale_format.name}; allowed under SIGNED_MAX, whose scales "
                "can be negative, are signed formats"
            )
        if self.format.middle <= self.format.lowest and range is not SymmetricRange.RESTRICTED:
            raise ValueError(
                f"range is {range.name}; allowed for {self.format.name}, with nothing below zero, "
                "is RESTRICTED"
            )

    @property
    def signed_scale(self) -> bool:
        """Whether scales can be negative."""
        return self.scheme == Symmetric(SymmetricRange.SIGNED_MAX)


def _checked_clip(clip: Clip) -> Clip:
    check_type(clip, tuple, "clip")
    if len(clip) != 2:
        raise ValueError(f"clip is {shown(clip)}; allowed are two ends, (lo, hi)")
    for end in clip:
        if end is not None:
            number(end, "clip")
    lo, hi = (end.item() if isinstance(end, np.generic) else end for end in clip)
    if lo is not None and hi is not None and lo >= hi:
        raise ValueError(f"clip is {clip}; allowed is a low end below the high end")
    return lo, hi


def scale_and_zero_point(rmin: Array, rmax: Array, target: Target) -> tuple[FloatArray, IntArray]:
    """Scale (on the target's scale format) and int32 zero point for finite ranges `rmin ≤ rmax`.

    `choose_qparams` is the validated form of this.
    """
    lo, hi = spread_of(rmin, rmax, target.scheme)
    exact = _apply_floor(exact_scale(lo, hi, target), target.floor)
    scale = store_scale(exact, target.scale_format, target.scale_rounding)
    zero_point = zero_points(lo, hi, scale, target)
    return _keep_finite(scale, zero_point, target), zero_point


def spread_of(rmin: Array, rmax: Array, scheme: Scheme) -> tuple[FloatArray, FloatArray]:
    """The range in float64, extended to zero unless an offset moves it."""
    lo, hi = np.asarray(rmin, np.float64), np.asarray(rmax, np.float64)
    return (lo, hi) if isinstance(scheme, Offset) else (np.minimum(lo, 0), np.maximum(hi, 0))


def exact_scale(lo: FloatArray, hi: FloatArray, target: Target) -> FloatArray:
    """The scale that the scheme asks for a `spread_of`, float64, before any floor or rounding."""
    if isinstance(target.scheme, Symmetric):
        return _symmetric_scale(lo, hi, target.format, target.scheme.range)
    return _affine_scale(lo, hi, target.format)


def zero_points(lo: FloatArray, hi: FloatArray, scale: FloatArray, target: Target) -> IntArray:
    """The int32 zero points that go with a scale as stored."""
    format, scheme = target.format, target.scheme
    if isinstance(scheme, Affine):
        return _affine_zero_point(lo, hi, scale.astype(np.float64), format, scheme.zero_point)
    return np.full(scale.shape, format.middle if isinstance(scheme, Symmetric) else 0, np.int32)


def exact_offset(rmin: Array, scale: FloatArray, format: Format) -> FloatArray:
    """What makes the lowest code stand for the minimum: `min − s · lowest`, float64."""
    return np.asarray(rmin, np.float64) - scale.astype(np.float64) * format.lowest


def _affine_scale(lo: FloatArray, hi: FloatArray, format: Format) -> FloatArray:
    """(max − min) / (qmax − qmin); halves are subtracted, as float64 ranges may overflow too."""
    return (hi / 2 - lo / 2) / ((format.highest - format.lowest) / 2)


def _symmetric_scale(
    lo: FloatArray, hi: FloatArray, format: Format, convention: SymmetricRange
) -> FloatArray:
    below = format.middle - format.lowest  # 128 for int8
    above = format.highest - format.middle  # 127
    amax = np.maximum(-lo, hi)
    match convention:
        case SymmetricRange.RESTRICTED:
            return amax / above
        case SymmetricRange.HALF_SPAN:
            return amax / ((above + below) / 2)
        case SymmetricRange.FULL:
            return amax / below
        case SymmetricRange.NO_CLIP:
            return np.maximum(-lo / below, hi / above)
        case SymmetricRange.SIGNED_MAX:  # a tie of the magnitudes keeps the scale positive
            return np.where(hi > -lo, -hi, -lo) / below


def _affine_zero_point(
    lo: FloatArray, hi: FloatArray, scale: FloatArray, format: Format, rule: ZeroPointRule
) -> IntArray:
    zero_point: FloatArray
    if rule is ZeroPointRule.FROM_MIN:
        zero_point = format.lowest - np.rint(lo / scale)
    else:
        error_min = abs(format.lowest) + np.abs(lo / scale)
        error_max = abs(format.highest) + np.abs(hi / scale)
        from_min, from_max = format.lowest - lo / scale, format.highest - hi / scale
        nearest = np.where(error_min < error_max, from_min, from_max)
        nearest = np.where((lo == 0) & (hi == 0), 0, nearest)  # TFLite's own case
        zero_point = round_values(nearest, Rounding.HALF_AWAY)
    return np.clip(zero_point, format.lowest, format.highest).astype(np.int32)


def _keep_finite(scale: FloatArray, zero_point: IntArray, target: Target) -> FloatArray:
    """Lower a scale whose outermost code would lie beyond float32.

    It happens where the data itself reaches the end of float32 and rounding the zero point moved
    the grid outward. Halving keeps a power of two one.
    """
    format, z = target.format, zero_point.astype(np.float64)
    steps = np.maximum(format.highest - z, z - format.lowest)
    limit = float(np.finfo(np.float32).max)
    if (
        scale.dtype == np.float64
        or not (too_far := np.abs(scale).astype(np.float64) * steps > limit).any()
    ):
        return scale
    inside = np.nextafter((limit / steps).astype(np.float32), np.float32(0))
    inside = np.minimum(inside, np.abs(scale))
    inside = store_scale(inside, target.scale_format, Rounding.FLOOR)
    halved = np.frexp(scale)[0] == 0.5
    return np.where(too_far, np.where(halved, scale / 2, np.copysign(inside, scale)), scale)


def _apply_floor(scale: FloatArray, floor: ScaleFloor) -> FloatArray:
    size = np.abs(scale)
    raised = np.where(size < floor.minimum, floor.replacement, scale)
    return np.where(size == 0, floor.all_zero, raised)


# Formats of NumPy's own, that of a comparison most often asked for first.
_NATIVE = tuple((format, np.dtype(format.name)) for format in (FLOAT32, FLOAT16, FLOAT64))


def _native(scale_format: FloatFormat) -> np.dtype[Any] | None:
    for format, dtype in _NATIVE:
        if scale_format is format or scale_format == format:
            return dtype
    return None


def scale_dtype(scale_format: FloatFormat) -> np.dtype[Any]:
    """The dtype that scales of a format are computed with: its own, else one that holds it."""
    if (dtype := _native(scale_format)) is not None:
        return dtype
    smallest = scale_format.min_exponent - scale_format.mantissa_bits
    fits = scale_format.mantissa_bits <= 23 and scale_format.max_exponent <= 127
    return np.dtype(np.float32 if fits and smallest >= -149 else np.float64)


def store_scale(scale: FloatArray, scale_format: FloatFormat, rounding: Rounding) -> FloatArray:
    """`scale`, nowhere 0, as the number that its format holds, of `scale_dtype`.

    Magnitudes are rounded. One that would become zero becomes the smallest positive number, and
    float16's subnormals are rounded up when rounding to nearest: rounding down would clip a lot.

    Raises:
        ValueError: a scale too large for the format, e.g. above 65504 for FLOAT16, or a negative
            one for a format without a sign.
    """
    exact, dtype = np.asarray(scale), scale_dtype(scale_format)
    if rounding is Rounding.HALF_EVEN and _native(scale_format) is not None:
        with np.errstate(over="ignore", under="ignore"):
            stored = exact.astype(dtype)
        held = np.isfinite(stored)
    else:
        size = np.abs(exact)
        codes = scale_format.to_codes(size, rounding, Overflow.SATURATE)
        stored = np.copysign(scale_format.to_values(codes), exact).astype(dtype)
        near = rounding if rounding is Rounding.CEIL else Rounding.HALF_EVEN
        signs = scale_format.signed or exact > 0
        held = scale_format.inside(size, rounding=near) & signs
    if not held.all():
        low = -scale_format.highest if scale_format.signed else scale_format.smallest
        raise ValueError(
            f"scale is {float(exact[~held].flat[0]):g}; allowed for {scale_format.name} is "
            f"{low:g} to {scale_format.highest:g}"
        )
    if rounding is Rounding.HALF_EVEN and dtype == np.float16:
        short = np.abs(stored) < np.finfo(np.float16).tiny
        short &= np.abs(stored.astype(np.float64)) < np.abs(exact)
        upward = np.nextafter(stored, np.copysign(np.inf, exact).astype(np.float16))
        stored = np.where(short, upward, stored)
    if not stored.all():
        smallest = np.copysign(dtype.type(scale_format.smallest), exact).astype(dtype)
        stored = np.where(stored == 0, smallest, stored)
    return np.asarray(stored)
