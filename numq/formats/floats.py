"""`FloatFormat`: binary floats, with what their special codes mean, as arrays of codes.

The scalar form of the same, exact in fractions and made for reading, is `numq.codec`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np

from numq.arguments import flag, integer
from numq.arrays import Array, FloatArray, IntArray, check_type
from numq.formats.format import _NO_OFFSET, Format, first
from numq.rounding import Overflow, Rounding, goes_on


class Specials(Enum):
    """Which codes of a float format are no numbers."""

    IEEE = "the topmost exponent: infinity where the mantissa is zero, else NaN"
    NAN_ONLY = "only the all-ones code is NaN (the `fn` of E4M3FN)"
    FNUZ = "only the code of negative zero is NaN, there is no negative zero"
    NONE = "every code is a number"
    EXPONENT_ONLY = "code c is 2^(c − bias), without zero and subnormals; all ones is NaN (E8M0)"


@dataclass(frozen=True, repr=False)
class FloatFormat(Format):
    """A binary float format: sign, exponent, mantissa, and what its special codes mean.

    `value = (−1)^sign · 2^(exponent − bias) · (1 + mantissa / 2^mantissa_bits)` for a normal
    number; exponent code 0 is zero and the subnormals, `2^(1 − bias) · mantissa / 2^mantissa_bits`.
    A code is the unsigned integer of these bits, the sign uppermost: what `view(np.uint8)` makes of
    an array of ml_dtypes.
    Sources: IEEE 754-2019 §3.4; OCP OFP8 1.0 §4.1; OCP MX 1.0 §5.3, §5.4; the types of ml_dtypes.

    Attributes:
        name: as ml_dtypes or the specification has it.
        exponent_bits: 2 to 11.
        mantissa_bits: 1 to 52; 0 for EXPONENT_ONLY.
        specials: which codes are no numbers.
        bias: what is subtracted from the stored exponent; None: 2^(exponent_bits − 1) − 1, and one
            more for FNUZ.
        signed: whether there is a sign bit.

    >>> FLOAT8_E4M3FN.highest, FLOAT8_E4M3FN.dtype, FLOAT8_E8M0FNU.lowest == 2.0**-127
    (448.0, dtype('uint8'), True)
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    specials: Specials = Specials.IEEE
    bias: int = None  # type: ignore[assignment]
    signed: bool = True

    def __post_init__(self) -> None:
        """Refuse fields that float64, in which all is decoded, could not hold."""
        check_type(self.name, str, "name")
        check_type(self.specials, Specials, "specials")
        object.__setattr__(self, "signed", flag(self.signed, "signed"))
        bare = self.specials is Specials.EXPONENT_ONLY
        mantissas = (0, 0) if bare else (1, 52)
        limits = {"exponent_bits": (2, 11), "mantissa_bits": mantissas}
        for field, (least, most) in limits.items():
            object.__setattr__(self, field, integer(getattr(self, field), field, least, most))
        usual = 2 ** (self.exponent_bits - 1) - (self.specials is not Specials.FNUZ)
        bias = usual if self.bias is None else self.bias
        # The smallest number is at least 2^−1074, the largest below 2^1024.
        least = max(0, 2**self.exponent_bits - 1 - (self.specials is Specials.IEEE) - bare - 1023)
        most = 1074 + (not bare) - self.mantissa_bits
        object.__setattr__(self, "bias", integer(bias, "bias", least, most))
        if (bare and self.signed) or (self.specials is Specials.FNUZ and not self.signed):
            raise ValueError(
                f"signed is {self.signed}; allowed for {self.specials.name} is {not self.signed}"
            )

    @property
    def bits(self) -> int:
        """Width with the sign."""
        return int(self.signed) + self.exponent_bits + self.mantissa_bits

    @property
    def codes(self) -> range:
        """Every pattern of the bits."""
        return range(2**self.bits)

    @property
    def min_exponent(self) -> int:
        """The unbiased exponent of the smallest normal numbers, which the subnormals share."""
        return -self.bias + (self.specials is not Specials.EXPONENT_ONLY)

    @property
    def max_exponent(self) -> int:
        """The unbiased exponent of the largest finite number."""
        return math.frexp(self.highest)[1] - 1

    @cached_property
    def top(self) -> int:
        """The code of the largest finite number."""
        every = 2 ** (self.exponent_bits + self.mantissa_bits)
        match self.specials:
            case Specials.IEEE:
                return int(every - 2**self.mantissa_bits - 1)
            case Specials.NAN_ONLY | Specials.EXPONENT_ONLY:
                return int(every - 2)
            case Specials.FNUZ | Specials.NONE:
                return int(every - 1)

    @property
    def has_nan(self) -> bool:
        """Whether a code stands for NaN."""
        return self.specials is not Specials.NONE

    @property
    def has_infinity(self) -> bool:
        """Whether a code stands for infinity."""
        return self.specials is Specials.IEEE

    @property
    def nan(self) -> int:
        """The code of NaN, quiet and positive; ValueError where there is none."""
        match self.specials:
            case Specials.NONE:
                raise ValueError(
                    f"value is NaN; allowed in {self.name} are numbers, as it has no NaN"
                )
            case Specials.FNUZ:
                return int(2 ** (self.bits - 1))
            case Specials.IEEE:
                return int(self.top + 1 + 2 ** (self.mantissa_bits - 1))
            case Specials.NAN_ONLY | Specials.EXPONENT_ONLY:
                return self.top + 1

    @property
    def beyond(self) -> int:
        """The code of what is too large: infinity, else NaN, else the largest finite number."""
        if self.specials is Specials.FNUZ:
            return self.nan
        return self.top if self.specials is Specials.NONE else self.top + 1

    @cached_property
    def lowest(self) -> float:
        """The smallest finite number: the largest with a minus, or that of code 0."""
        return -self.highest if self.signed else float(self._finite(np.array(0)))

    @cached_property
    def highest(self) -> float:
        """The largest finite number."""
        return float(self._finite(np.array(self.top)))

    @property
    def smallest(self) -> float:
        """The smallest subnormal; without any, the number of code 0."""
        return float(self._finite(np.array(int(self.specials is not Specials.EXPONENT_ONLY))))

    @property
    def above_zero(self) -> int:
        """The codes up to that of the largest number; code 0 is 0 but in EXPONENT_ONLY."""
        return self.top + (self.specials is Specials.EXPONENT_ONLY)

    @property
    def end_steps(self) -> tuple[float, float]:
        """One unit of the last mantissa bit at either end."""
        below, above = (
            self._finite(np.array(code)) - self._finite(np.array(code - 1))
            for code in (self.top if self.signed else 1, self.top)
        )
        return float(below), float(above)

    @property
    def overflows(self) -> tuple[Overflow, ...]:
        """Saturate, the format's own special codes, or an error."""
        return Overflow.SATURATE, Overflow.NATIVE, Overflow.RAISE

    def __repr__(self) -> str:
        """The name and the fields, e.g. `float16 (1 sign, 5 exponent, 10 mantissa)`."""
        fields = f"{self.exponent_bits} exponent, {self.mantissa_bits} mantissa"
        return f"{self.name} ({'1 sign, ' if self.signed else ''}{fields})"

    def to_codes(
        self,
        values: FloatArray,
        rounding: Rounding,
        overflow: Overflow,
        offset: IntArray = _NO_OFFSET,
        rng: np.random.Generator | None = None,
    ) -> IntArray:
        """Sign, exponent and mantissa of the neighbour that `rounding` chooses."""
        self.check_overflow(overflow)
        with np.errstate(invalid="ignore"):  # a signalling NaN
            wide, missing = values.astype(np.float64), np.isnan(values)
        code = self._magnitudes(wide, rounding, rng)
        if overflow is Overflow.RAISE:
            self._check_inside(wide, code)
        native = overflow is Overflow.NATIVE
        below = self._below(wide, code)
        code = np.where(code > self.top, self.beyond if native else self.top, code)
        code = np.where(below, self.nan if native and self.has_nan else 0, code)
        if missing.any():
            code = np.where(missing, self.nan, code)
        if self.signed:
            minus = np.signbit(values) & ((code != 0) | (self.specials is not Specials.FNUZ))
            code = code | minus.astype(np.uint64) << np.uint64(self.bits - 1)
        return np.asarray(code).astype(self.dtype)

    def _magnitudes(
        self, values: FloatArray, rounding: Rounding, rng: np.random.Generator | None
    ) -> IntArray:
        """The code of |value| without a sign, uint64; `top + 1` for all that is beyond.

        A number is so many steps of 2^(exponent − mantissa_bits). Steps counted from zero make a
        carry of the mantissa run into the exponent by itself.
        """
        low, bits = self.min_exponent, self.mantissa_bits
        size = np.minimum(np.abs(values), self._ceiling)
        exponent = np.maximum(np.frexp(size)[1] - 1, low)
        exponent = np.where(size > 0, exponent, low)  # NaN too, of which nothing is kept
        steps = np.nan_to_num(np.ldexp(size, bits - exponent))
        whole = np.floor(steps)
        negative = np.signbit(values)
        up = goes_on(steps - whole, rounding, odd=whole % 2 == 1, upward=~negative,
                     outward=True, rng=rng)  # fmt: skip
        code = (whole + up).astype(np.int64) + ((exponent.astype(np.int64) - low) << bits)
        if self.specials is Specials.EXPONENT_ONLY:  # the first step is code 0
            code = np.maximum(code - 1, 0)
        return np.where(np.isinf(values), self.top + 1, code).astype(np.uint64)

    @cached_property
    def _ceiling(self) -> float:
        """The last float64 below the number that would follow the largest finite one."""
        if self.highest == np.finfo(np.float64).max:
            return self.highest
        return math.nextafter(float(self._finite(np.array(self.top + 1))), 0)

    def _check_inside(self, values: FloatArray, code: Array) -> None:
        """Raise OverflowError that names the first value that is not, infinities among them."""
        outside = self._outside(values, code)
        if outside.any():
            where = first(outside)
            raise OverflowError(
                f"values has {int(outside.sum())} outside, the first at {where}: {values[where]}; "
                f"allowed is {self!r}"
            )

    def _outside(self, values: FloatArray, code: Array) -> Array:
        """Where the rounded value, as if exponents had no end, is no number of the format."""
        too_large = (np.abs(values) > self._ceiling) | (code > self.top)
        return too_large | self._below(values, code)

    def _below(self, values: FloatArray, code: Array) -> Array:
        """Where values lie below an unsigned grid."""
        if self.signed:
            return np.zeros(values.shape, np.bool_)
        if self.specials is Specials.EXPONENT_ONLY:
            return values <= 0
        return (values < 0) & (code != 0)

    def to_values(self, codes: IntArray) -> FloatArray:
        """The numbers of codes: from a table up to 8 bits, else computed."""
        if self.bits <= 8:
            return np.asarray(self._table[codes])
        return self._decoded(codes.astype(np.uint64))

    @cached_property
    def _table(self) -> FloatArray:
        return self._decoded(np.arange(2**self.bits, dtype=np.uint64))

    def _decoded(self, codes: Array) -> FloatArray:
        sign = np.uint64(self.bits - int(self.signed))
        magnitude = codes & np.uint64(2 ** int(sign) - 1)
        values = np.where(
            magnitude > self.top, np.nan, self._finite(np.minimum(magnitude, self.top))
        )
        if self.has_infinity:
            values = np.where(magnitude == self.top + 1, np.inf, values)
        if not self.signed:
            return values
        if self.specials is Specials.FNUZ:
            values = np.where(codes == self.nan, np.nan, values)
        return np.where(codes >> sign, -values, values)

    def _finite(self, magnitude: Array) -> FloatArray:
        """The numbers of codes without a sign, whatever is special among them."""
        whole = magnitude.astype(np.int64)
        exponent, mantissa = whole >> self.mantissa_bits, whole & (2**self.mantissa_bits - 1)
        if self.specials is Specials.EXPONENT_ONLY:
            return np.ldexp(1.0, exponent - self.bias)
        hidden = np.where(exponent > 0, 2**self.mantissa_bits, 0)
        power = np.maximum(exponent, 1) - self.bias - self.mantissa_bits
        return np.ldexp((hidden + mantissa).astype(np.float64), power)

    def nearest(self, values: FloatArray, zero_point: Array | int = 0) -> FloatArray:
        """`step · rint(values / step)`, saturated; step = 2^(exponent − mantissa_bits)."""
        wide = values.astype(np.float64)
        exponent = np.maximum(np.frexp(wide)[1] - 1, self.min_exponent)
        step = np.ldexp(1.0, exponent - self.mantissa_bits)
        return np.clip(np.rint(wide / step) * step, self.lowest, self.highest).astype(values.dtype)

    def inside(
        self,
        values: FloatArray,
        zero_point: Array | int = 0,
        rounding: Rounding = Rounding.HALF_EVEN,
    ) -> Array:
        """Where the rounded value, as if exponents had no end, is a number of the format."""
        wide = values.astype(np.float64)
        return ~self._outside(wide, self._magnitudes(wide, rounding, None))


FLOAT64 = FloatFormat("float64", 11, 52)
FLOAT32 = FloatFormat("float32", 8, 23)
FLOAT16 = FloatFormat("float16", 5, 10)
BFLOAT16 = FloatFormat("bfloat16", 8, 7)
FLOAT8_E5M2 = FloatFormat("float8_e5m2", 5, 2)
FLOAT8_E5M2FNUZ = FloatFormat("float8_e5m2fnuz", 5, 2, Specials.FNUZ)
FLOAT8_E4M3 = FloatFormat("float8_e4m3", 4, 3)
FLOAT8_E4M3FN = FloatFormat("float8_e4m3fn", 4, 3, Specials.NAN_ONLY)
FLOAT8_E4M3FNUZ = FloatFormat("float8_e4m3fnuz", 4, 3, Specials.FNUZ)
FLOAT8_E4M3B11FNUZ = FloatFormat("float8_e4m3b11fnuz", 4, 3, Specials.FNUZ, bias=11)
FLOAT8_E3M4 = FloatFormat("float8_e3m4", 3, 4)
FLOAT8_E8M0FNU = FloatFormat("float8_e8m0fnu", 8, 0, Specials.EXPONENT_ONLY, signed=False)
FLOAT6_E3M2 = FloatFormat("float6_e3m2", 3, 2, Specials.NONE)
FLOAT6_E2M3 = FloatFormat("float6_e2m3", 2, 3, Specials.NONE)
FLOAT4_E2M1 = FloatFormat("float4_e2m1", 2, 1, Specials.NONE)

FLOAT_FORMATS = (
    FLOAT64, FLOAT32, FLOAT16, BFLOAT16,
    FLOAT8_E5M2, FLOAT8_E5M2FNUZ, FLOAT8_E4M3, FLOAT8_E4M3FN, FLOAT8_E4M3FNUZ, FLOAT8_E4M3B11FNUZ,
    FLOAT8_E3M4, FLOAT8_E8M0FNU, FLOAT6_E3M2, FLOAT6_E2M3, FLOAT4_E2M1,
)  # fmt: skip
