"""The bit inspector: what a number looks like inside.

A float is `(−1)^sign · 2^(exponent − bias) · significand`; an integer is its two's complement.

>>> from numq.formats import FLOAT16, UINT8
>>> inspect_float(2.718281828459045, FLOAT16)
float16  2.718281828459045 -> 2.71875  (error +4.7e-04)
  0 10000 0101110000
  sign 0 (+)  exponent 16 - bias 15 = 1  significand 1 + 368/1024
  value = +2^1 * 1.359375
>>> inspect_int(255 * 2, UINT8)
uint8  510 does not fit [0, 255]: it needs 9 bits
  11111110
  the low 8 bits alone read 254
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

from numq.arguments import integer, shown
from numq.arrays import check_type
from numq.codec import Real, decode_float, encode_float, exact
from numq.formats import FloatFormat, Format, IntFormat, Specials, TableFormat


@dataclass(frozen=True, repr=False)
class FloatBits:
    """One code of a float format, taken apart.

    Attributes:
        format: the float format.
        code: the bits as an unsigned integer.
        source: the number that was asked for, before it was rounded to the format: a Fraction, or
            a float where it is ±inf, NaN or −0.
    """

    format: FloatFormat
    code: int
    source: Real

    @property
    def sign(self) -> int:
        """1 for negative."""
        return self.code >> (self.format.bits - 1) if self.format.signed else 0

    @property
    def exponent(self) -> int:
        """The stored (biased) exponent."""
        return (self.code >> self.format.mantissa_bits) & (2**self.format.exponent_bits - 1)

    @property
    def mantissa(self) -> int:
        """The stored fraction, without the hidden bit."""
        return int(self.code & (2**self.format.mantissa_bits - 1))

    @property
    def kind(self) -> str:
        """`zero`, `subnormal`, `normal`, `inf` or `nan`."""
        if not math.isfinite(self.value):
            return "nan" if math.isnan(self.value) else "inf"
        if self.exponent == 0 and self.format.specials is not Specials.EXPONENT_ONLY:
            return "subnormal" if self.mantissa else "zero"
        return "normal"

    @property
    def value(self) -> float:
        """What the code means, exactly."""
        return decode_float(self.code, self.format)

    def __repr__(self) -> str:
        """Four lines: value and error, bits by field, the fields read, the product."""
        f = self.format
        sign = "-" if self.sign else "+"
        head = f"{f.name}  {_shown(self.source)} -> {self.value!r}{self._error()}"
        head = f"{head}\n  {self._fields()}"
        signed = f"sign {self.sign} ({sign})  " if f.signed else ""
        if self.kind in ("inf", "nan"):
            return f"{head}\n  {signed}{self.kind}"
        hidden = self.kind == "normal"
        stored = self.exponent if hidden else 1
        steps = 2**f.mantissa_bits
        return (
            f"{head}\n"
            f"  {signed}exponent {stored} - bias {f.bias} = {stored - f.bias}  "
            f"significand {int(hidden)} + {self.mantissa}/{steps}"
            f"{'' if hidden else '  (exponent field 0 reads as 1: ' + self.kind + ')'}\n"
            f"  value = {sign}2^{stored - f.bias} * {hidden + self.mantissa / steps!r}"
        )

    def _fields(self) -> str:
        """The bits, a space between sign, exponent and mantissa."""
        f, shown = self.format, f"{self.code:0{self.format.bits}b}"
        start = int(f.signed)
        cut = start + f.exponent_bits
        return " ".join(part for part in (shown[:start], shown[start:cut], shown[cut:]) if part)

    def _error(self) -> str:
        if isinstance(self.source, float) and not math.isfinite(self.source):
            return ""
        if not math.isfinite(self.value):
            return "  (overflows)"
        beyond = abs(Fraction(self.source)) > Fraction(self.format.highest)
        return _difference(self.value, self.source, "; saturates" if beyond else "")


def _difference(value: float, source: Real, remark: str = "") -> str:
    """`  (exact)`, or what has been lost."""
    error = Fraction(value) - Fraction(source)
    return f"  (error {_short(error, '{:+.1e}', '{:+.1e}')}{remark})" if error else "  (exact)"


def inspect_float(value: Real | int | str, format: FloatFormat) -> FloatBits:
    """Round `value` to `format` (half to even) and take the code apart.

    What is too large becomes infinity or NaN, or saturates where the format has neither.

    Args:
        value: a number; text such as "0.1" or "1e-400" is taken as the exact decimal it is.
        format: the format.

    Raises:
        TypeError: `value` is not a number.
        ValueError: text that is no number, or an exponent of more than four digits; NaN in a
            format without NaN.
    """
    check_type(format, FloatFormat, "format")
    source = _parse(value) if isinstance(value, str) else exact(value)
    return FloatBits(format, encode_float(source, format), source)


def inspect_code(code: int, format: Format) -> Bits:
    """A stored code taken apart: what number do these bits mean?

    Args:
        code: the bits as an unsigned integer.
        format: the format.

    Raises:
        TypeError: `code` is not an integer.
        ValueError: a code of more bits, or one that a table has not.

    >>> from numq.formats import FLOAT8_E4M3FN, INT8
    >>> inspect_code(0x3F, FLOAT8_E4M3FN).value, inspect_code(0xFF, INT8).value
    (1.875, -1)
    """
    check_type(format, Format, "format")
    code = integer(code, "code", 0, 2**format.bits - 1)
    _, of_code = _readers(format)
    return of_code(code, format)


def inspect(value: Real | int | str, format: Format) -> Bits:
    """What `value` looks like in a format of any kind, and what is lost.

    Raises:
        TypeError: `value` is not a number, or not an integer where the format is one.
        ValueError: text that is no number, or no integer where the format is one; NaN in a format
            without NaN, infinity in a table.
    """
    of_value, _ = _readers(format)
    return of_value(value, format)


_LONGEST = 4000  #: characters of a number; Python refuses integers not far beyond


def _parse(text: str) -> Real:
    """A number in decimal or in Python's integer notation, exactly."""
    if len(text) > _LONGEST:
        raise ValueError(f"value has {len(text)} characters; allowed are up to {_LONGEST}")
    _, _, exponent = text.lower().partition("e")
    if not text.lower().lstrip("+-").startswith("0x") and len(exponent.lstrip("+-0")) > 4:
        raise ValueError(f"value is {shown(text)}; allowed are exponents of up to four digits")
    as_integer, as_float = lambda t: Fraction(int(t, 0)), lambda t: exact(float(t))
    for read in (Fraction, as_integer, _hexadecimal, as_float):
        try:
            number = read(text)
            return number or math.copysign(0.0, -text.strip().startswith("-"))
        except (ValueError, ZeroDivisionError):
            continue
    raise ValueError(
        f"value is {shown(text)}; allowed is a number such as 2.71828, 0x3f, 0x1.8p3 or inf"
    )


def _hexadecimal(text: str) -> Fraction:
    """C's notation of a binary float, 0x1.8p3 for 12; what has no p is no such thing."""
    if "p" not in text.lower():
        raise ValueError(text)
    return Fraction(float.fromhex(text))


def _shown(source: Real) -> str:
    """The number as a person would write it."""
    if isinstance(source, float):
        return repr(source)
    if source.denominator == 1 and 2**53 <= abs(source) < 10**20:
        return str(source.numerator)
    return _short(source, "{!r}", "{:.17g}")


def _short(v: Fraction, as_float: str, as_decimal: str) -> str:
    """Formatted as a float, or as a decimal where it lies beyond float64."""
    if Fraction(5e-324) <= abs(v) < Fraction(2) ** 1024 * (1 - Fraction(1, 2**54)):
        return as_float.format(float(v))
    return as_decimal.format(Decimal(v.numerator) / Decimal(v.denominator))


@dataclass(frozen=True, repr=False)
class IntBits:
    """An integer beside the bits that a format keeps of it.

    Attributes:
        format: the integer format.
        source: the integer that was asked for.
    """

    format: IntFormat
    source: int

    @property
    def fits(self) -> bool:
        """Whether the format holds the number."""
        return self.format.qmin <= self.source <= self.format.qmax

    @property
    def code(self) -> int:
        """The low bits of the two's complement, as an unsigned integer."""
        return int(self.source % 2**self.format.bits)

    @property
    def value(self) -> int:
        """What the kept bits read as: `source` if it fits, else what is left of it."""
        top = self.format.signed and self.code >> (self.format.bits - 1)
        return self.code - 2**self.format.bits if top else self.code

    @property
    def bits_needed(self) -> int:
        """The smallest width of this signedness that holds the number; a sign counts as a bit."""
        if self.format.signed or self.source < 0:
            magnitude = self.source if self.source >= 0 else ~self.source
            return magnitude.bit_length() + 1
        return max(self.source.bit_length(), 1)

    def __repr__(self) -> str:
        """Value, bits, and how the bits read."""
        f = self.format
        bits = f"{self.code:0{f.bits}b}"
        grouped = " ".join(bits[max(i - 8, 0) : i] for i in range(len(bits), 0, -8)[::-1])
        if self.fits:
            return f"{f.name}  {self.source} fits [{f.qmin}, {f.qmax}]\n  {grouped}"
        return (
            f"{f.name}  {self.source} does not fit [{f.qmin}, {f.qmax}]: it {self._why()}\n"
            f"  {grouped}\n  the low {f.bits} bits alone read {self.value}"
        )

    def _why(self) -> str:
        if self.value == self.source:
            return "is the code that a narrow range leaves out"
        if self.source < 0 and not self.format.signed:
            return "needs a sign"
        return f"needs {self.bits_needed} bits"


def inspect_int(value: int, format: IntFormat) -> IntBits:
    """The two's complement of `value` in `format`, and what is lost if it does not fit.

    Raises:
        TypeError: `value` is not an integer.
    """
    check_type(format, IntFormat, "format")
    return IntBits(format, integer(value, "value"))


def parse_integer(text: str, what: str = "an integer format") -> int:
    """An integer in Python's notation; ValueError says what it was wanted for."""
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(
            f"value is {shown(text.strip())}; allowed for {what} are integers of up to {_LONGEST} "
            "digits"
        ) from None


@dataclass(frozen=True, repr=False)
class TableBits:
    """A place in a table beside the number that led to it.

    Attributes:
        format: the table.
        code: the place, from 0 on.
        source: the number that was asked for.
    """

    format: TableFormat
    code: int
    source: Real

    @property
    def value(self) -> float:
        """The table's value there."""
        return self.format.values[self.code]

    def __repr__(self) -> str:
        """Value and error, the bits, the neighbours."""
        f, code = self.format, self.code
        beyond = not f.lowest <= self.source <= f.highest
        lost = _difference(self.value, self.source, "; saturates" if beyond else "")
        near = [
            f"code {c} is {f.values[c]!r}" for c in (code - 1, code + 1) if 0 <= c < len(f.values)
        ]
        return (
            f"{f.name}  {_shown(self.source)} -> {self.value!r}{lost}\n"
            f"  {code:0{f.bits}b}\n"
            f"  code {code} of 0 to {len(f.values) - 1}; {', '.join(near)}"
        )


def inspect_table(value: Real | int | str, format: TableFormat) -> TableBits:
    """The code of the nearest value of a table, ties to the even code; exact.

    Raises:
        TypeError: `value` is not a number.
        ValueError: text that is no number, NaN or infinity.

    >>> from numq.formats import NF4
    >>> inspect_table("0.3", NF4)
    nf4  0.3 -> 0.33791524171829224  (error +3.8e-02)
      1011
      code 11 of 0 to 15; code 10 is 0.24611230194568634, code 12 is 0.44070982933044434
    """
    check_type(format, TableFormat, "format")
    source = _parse(value) if isinstance(value, str) else exact(value)
    if isinstance(source, float) and not math.isfinite(source):
        raise ValueError(f"value is {source}; allowed for {format.name} are finite numbers")
    real = Fraction(source)
    distances = [abs(Fraction(v) - real) for v in format.values]
    nearest = [code for code, d in enumerate(distances) if d == min(distances)]
    return TableBits(format, min(nearest, key=lambda code: code % 2), source)


Bits: TypeAlias = FloatBits | IntBits | TableBits


def _readers(format: Format) -> tuple[Callable[[Any, Any], Bits], Callable[[int, Any], Bits]]:
    """What takes a value apart, and a code, in formats of that kind."""
    check_type(format, FloatFormat | IntFormat | TableFormat, "format")
    return next(readers for kind, readers in _KINDS.items() if isinstance(format, kind))


def _float_code(code: int, format: FloatFormat) -> FloatBits:
    return FloatBits(format, code, exact(decode_float(code, format)))


def _int_value(value: int | str, format: IntFormat) -> IntBits:
    return inspect_int(parse_integer(value) if isinstance(value, str) else value, format)


def _int_code(code: int, format: IntFormat) -> IntBits:
    negative = format.signed and code >> (format.bits - 1)
    return IntBits(format, code - 2**format.bits if negative else code)


def _table_code(code: int, format: TableFormat) -> TableBits:
    return TableBits(format, code, Fraction(format.decode([code])[0]))


_KINDS: dict[type[Format], tuple[Callable[[Any, Any], Bits], Callable[[int, Any], Bits]]] = {
    FloatFormat: (inspect_float, _float_code),
    IntFormat: (_int_value, _int_code),
    TableFormat: (inspect_table, _table_code),
}
