"""One float at a time: the codec of `FloatFormat` once more, exact in fractions, made for reading.

>>> from numq.formats import FLOAT8_E4M3FN
>>> encode_float(1.875, FLOAT8_E4M3FN), decode_float(0x3F, FLOAT8_E4M3FN)
(63, 1.875)
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TypeAlias

from numq.arguments import integer, is_number, shown
from numq.arrays import check_type
from numq.formats import FloatFormat, Specials
from numq.rounding import Overflow

Real: TypeAlias = float | Fraction


def exact(value: Real | int) -> Real:
    """A Fraction, or a float where that says more: ±inf, NaN, −0."""
    if not (is_number(value) or isinstance(value, Fraction)):
        raise TypeError(f"value is {shown(value)}; allowed are real numbers")
    if isinstance(value, Fraction | int):
        return Fraction(value)
    number = float(value)
    return Fraction(number) if math.isfinite(number) and number else number


def encode_float(
    value: Real | int, format: FloatFormat, overflow: Overflow = Overflow.NATIVE
) -> int:
    """The code of the nearest number of `format`, ties to the even significand.

    Under NATIVE, too large a value becomes infinity, or NaN where the format has no infinity, or
    the largest number where it has neither; what lies below the numbers of an unsigned format
    becomes NaN (ml_dtypes' rules). Under SATURATE either becomes the nearest number.

    Raises:
        ValueError: NaN in a format without NaN, another overflow rule.
    """
    check_type(format, FloatFormat, "format")
    check_type(overflow, Overflow, "overflow")
    if overflow not in (Overflow.NATIVE, Overflow.SATURATE):
        raise ValueError(f"overflow is {overflow}; allowed are NATIVE and SATURATE")
    real = exact(value)
    negative = math.copysign(1, real) < 0 if isinstance(real, float) else real < 0
    if isinstance(real, float) and math.isnan(real):
        return _signed(format.nan, format, negative)
    code = (
        format.top + 1 if isinstance(real, float) and math.isinf(real) else _size_code(real, format)
    )
    if code > format.top:
        code = format.top if overflow is Overflow.SATURATE else format.beyond
    bare = format.specials is Specials.EXPONENT_ONLY
    if not format.signed and ((negative and code) or (bare and (negative or not real))):
        return format.nan if overflow is Overflow.NATIVE and format.has_nan else 0
    return _signed(code, format, negative)


def _size_code(real: Real, format: FloatFormat) -> int:
    """The code of |value| without its sign; beyond the largest number, anything above its code."""
    size = abs(Fraction(real))
    lowest = format.min_exponent
    exponent = max(_floor_log2(size), lowest) if size else lowest
    # Counting steps from zero makes a carry of the mantissa run into the exponent by itself.
    steps = round(size / Fraction(2) ** (exponent - format.mantissa_bits))
    if format.specials is Specials.EXPONENT_ONLY:  # the first step is code 0
        return max(steps - 1 + exponent - lowest, 0)
    return steps + ((exponent - lowest) << format.mantissa_bits)


def _signed(code: int, format: FloatFormat, negative: bool) -> int:
    """With the sign bit, if there is one; the code of a negative zero may mean something else."""
    if not format.signed or not negative or (format.specials is Specials.FNUZ and code == 0):
        return code
    return code | 1 << (format.bits - 1)


def _floor_log2(v: Fraction) -> int:
    guess = v.numerator.bit_length() - v.denominator.bit_length()
    return guess if Fraction(2) ** guess <= v else guess - 1


def decode_float(code: int, format: FloatFormat) -> float:
    """The number that `code` means in `format`, exactly; ValueError for a code of more bits."""
    check_type(format, FloatFormat, "format")
    if not 0 <= integer(code, "code") < 2**format.bits:
        raise ValueError(f"code is {code}; allowed for {format.name} are 0 to {2**format.bits - 1}")
    exponent = (code >> format.mantissa_bits) & (2**format.exponent_bits - 1)
    mantissa = code & (2**format.mantissa_bits - 1)
    negative = format.signed and bool(code >> (format.bits - 1))
    size = code - (int(negative) << (format.bits - 1))
    sign = -1.0 if negative else 1.0
    if size > format.top or (format.specials is Specials.FNUZ and code == format.nan):
        special = math.inf if format.has_infinity and size == format.top + 1 else math.nan
        return math.copysign(special, sign)
    if format.specials is Specials.EXPONENT_ONLY:
        return math.ldexp(1, exponent - format.bias)
    hidden = 2**format.mantissa_bits if exponent else 0
    power = max(exponent, 1) - format.bias - format.mantissa_bits
    return sign * math.ldexp(hidden + mantissa, power)
