"""`IntFormat`: two's-complement and unsigned integers, whose grid values are the codes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np

from numq.arguments import flag, integer
from numq.arrays import Array, FloatArray, IntArray, check_type
from numq.formats.format import _NO_OFFSET, Format, first
from numq.rounding import Overflow, Rounding, rounded

_CAP = 2.0**31 - 128  #: the largest float32 that int32 holds


@dataclass(frozen=True, repr=False)
class IntFormat(Format):
    """An integer format: 2 to 16 bits, or 32 signed.

    Attributes:
        bits: width of one code, 2…16, or 32 if signed.
        signed: two's complement if True, else 0…2^bits−1.
        narrow_range: leave out the lowest code (int8: −127…127), so that a symmetric grid has
            as many codes below zero as above.

    >>> INT8.qmin, INT8.qmax, INT8.dtype, INT8.name
    (-128, 127, dtype('int8'), 'int8')
    >>> INT4.packed_nbytes(5)  # five 4-bit elements need 20 bits
    3
    """

    bits: int
    signed: bool = True
    narrow_range: bool = False

    def __post_init__(self) -> None:
        """Refuse widths that have no storage; NumPy's integers and bools become Python's."""
        object.__setattr__(self, "signed", flag(self.signed, "signed"))
        object.__setattr__(self, "narrow_range", flag(self.narrow_range, "narrow_range"))
        object.__setattr__(self, "bits", integer(self.bits, "bits"))
        if not (2 <= self.bits <= 16 or (self.bits == 32 and self.signed)):
            kind = "signed" if self.signed else "unsigned"
            raise ValueError(
                f"bits is {self.bits}, {kind}; allowed are the integers 2 to 16, and 32 signed"
            )

    @property
    def qmin(self) -> int:
        """The smallest code."""
        lowest = -(2 ** (self.bits - 1)) if self.signed else 0
        return lowest + int(self.narrow_range)

    @property
    def qmax(self) -> int:
        """The largest code."""
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1

    @property
    def name(self) -> str:
        """`int8`, `uint4`, `int8_narrow`."""
        sign = "" if self.signed else "u"
        return f"{sign}int{self.bits}{'_narrow' if self.narrow_range else ''}"

    @property
    def codes(self) -> range:
        """From `qmin` to `qmax`."""
        return range(self.qmin, self.qmax + 1)

    @property
    def lowest(self) -> int:
        """`qmin`: codes are grid values."""
        return self.qmin

    @property
    def highest(self) -> int:
        """`qmax`."""
        return self.qmax

    @property
    def smallest(self) -> int:
        """1."""
        return 1

    @property
    def above_zero(self) -> int:
        """1 to the largest code."""
        return self.qmax

    @property
    def end_steps(self) -> tuple[float, float]:
        """One."""
        return 1.0, 1.0

    @property
    def middle(self) -> int:
        """The zero point of a symmetric grid: 0 for signed codes, 128 for uint8."""
        return (self.qmin + self.qmax + 1) // 2

    @property
    def zero_points(self) -> range:
        """Any code."""
        return self.codes

    @property
    def overflows(self) -> tuple[Overflow, ...]:
        """All but what needs infinity or NaN."""
        return tuple(rule for rule in Overflow if rule is not Overflow.NATIVE)

    def narrow(self) -> IntFormat:
        """The same format without its lowest code."""
        return replace(self, narrow_range=True)

    def __repr__(self) -> str:
        """The name and the codes, e.g. `int8 [-128, 127]`."""
        return f"{self.name} [{self.qmin}, {self.qmax}]"

    def to_codes(
        self,
        values: FloatArray,
        rounding: Rounding,
        overflow: Overflow,
        offset: IntArray = _NO_OFFSET,
        rng: np.random.Generator | None = None,
    ) -> IntArray:
        """`overflow(round(values) + offset)`, clamped in float *before* the integer cast."""
        self.check_overflow(overflow)
        # float64 holds every bound, also 2^31 − 1, which float32 would round up to 2^31.
        whole = rounded(values, rounding, rng).astype(np.float64)
        total: FloatArray
        match overflow:
            case Overflow.WRAP:
                return _wrap(whole, offset, self).astype(self.dtype)
            case Overflow.RAISE:
                return _all_inside(whole + offset, self).astype(self.dtype)
            case Overflow.CAST_INT32:
                total = _wrapped_sum(_cast(whole, 32), offset, 32)
            case Overflow.CAP_CAST_INT32:
                total = _wrapped_sum(_cast(np.minimum(whole, _CAP), 32), offset, 32)
            case Overflow.CAST_INT64:
                total = _cast(whole + offset, 64)
            case _:
                total = whole + offset
        return np.clip(total, self.qmin, self.qmax).astype(self.dtype)

    def to_values(self, codes: IntArray) -> FloatArray:
        """The codes themselves."""
        return codes.astype(np.float64)

    def nearest(self, values: FloatArray, zero_point: Array | int = 0) -> FloatArray:
        """`clip(rint(values), qmin − z, qmax − z)`."""
        low, high = self.qmin - zero_point, self.qmax - zero_point
        whole = np.asarray(np.rint(values))
        return np.clip(whole, low, high, out=whole, dtype=whole.dtype, casting="same_kind")

    def inside(
        self,
        values: FloatArray,
        zero_point: Array | int = 0,
        rounding: Rounding = Rounding.HALF_EVEN,
    ) -> Array:
        """`qmin ≤ round(values) + z ≤ qmax`."""
        steps = rounded(values, rounding, None)
        return (steps >= self.qmin - zero_point) & (steps <= self.qmax - zero_point)


def integer_format(format: Format, name: str) -> IntFormat:
    """`format`, where only integers will do; TypeError for other formats."""
    check_type(format, IntFormat, name)
    assert isinstance(format, IntFormat)
    return format


def small_integers(format: Format) -> TypeGuard[IntFormat]:
    """Whether integer kernels take the codes: integers of 8 bits or fewer."""
    return isinstance(format, IntFormat) and format.bits <= 8


def compiled_codes(format: Format, scale: Array) -> bool:
    """Whether passes over memory are compiled: integers of 16 bits or fewer, float32 at most."""
    return isinstance(format, IntFormat) and format.bits <= 16 and scale.dtype != np.float64


def _wrap(whole: FloatArray, offset: IntArray, format: IntFormat) -> FloatArray:
    """The low `bits` of the two's complement of `whole + offset`.

    The modulus is taken before the offset is added, as the sum could lose its low bits.
    """
    if format.narrow_range:
        raise ValueError(
            f"overflow is WRAP and the format {format!r}; allowed is one without a narrow range, "
            "as a register wraps over all its codes"
        )
    if np.isinf(whole).any():
        raise ValueError("values has an infinity; allowed with Overflow.WRAP are finite numbers")
    span = 2.0**format.bits
    low = np.mod(np.mod(whole, span) + offset, span)
    return np.where(low > format.qmax, low - span, low)


def _cast(whole: FloatArray, bits: int) -> FloatArray:
    """x86's float-to-integer conversion: what does not fit becomes the smallest integer."""
    half = 2.0 ** (bits - 1)
    return np.where((whole >= -half) & (whole < half), whole, -half)


def _wrapped_sum(a: FloatArray, b: IntArray, bits: int) -> FloatArray:
    """`a + b` as a register of so many bits holds it; exact, as both are far below 2^53."""
    half = 2.0 ** (bits - 1)
    return np.mod(a + b + half, 2 * half) - half


def _all_inside(codes: FloatArray, format: IntFormat) -> FloatArray:
    outside = (codes < format.qmin) | (codes > format.qmax)
    if outside.any():
        where = first(outside)
        raise OverflowError(
            f"values has {int(outside.sum())} outside, the first at {where}: {codes[where]:.0f}; "
            f"allowed is {format!r}"
        )
    return codes


INT2, INT3, INT4, INT5, INT6, INT7, INT8 = (IntFormat(b) for b in range(2, 9))
UINT2, UINT3, UINT4, UINT5, UINT6, UINT7, UINT8 = (IntFormat(b, signed=False) for b in range(2, 9))
INT16, UINT16, INT32 = IntFormat(16), IntFormat(16, signed=False), IntFormat(32)

INT_FORMATS = (
    INT2, INT3, INT4, INT5, INT6, INT7, INT8, INT16, INT32,
    UINT2, UINT3, UINT4, UINT5, UINT6, UINT7, UINT8, UINT16,
)  # fmt: skip
