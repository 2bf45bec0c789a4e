"""Number formats as data: which integers (or small floats) exist, and how they are stored."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

from numq.arguments import flag, integer
from numq.arrays import check_type


@dataclass(frozen=True)
class IntFormat:
    """A two's-complement integer format: 2 to 16 bits, or 32.

    Attributes:
        bits: width of one element, 2…16, or 32 if signed.
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
    def levels(self) -> int:
        """How many codes there are."""
        return self.qmax - self.qmin + 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype that holds one unpacked element: the next of 8, 16 or 32 bits."""
        width = 8 if self.bits <= 8 else 16 if self.bits <= 16 else 32
        return np.dtype(f"{'int' if self.signed else 'uint'}{width}")

    @property
    def name(self) -> str:
        """`int8`, `uint4`, `int8_narrow`."""
        sign = "" if self.signed else "u"
        return f"{sign}int{self.bits}{'_narrow' if self.narrow_range else ''}"

    def packed_nbytes(self, count: int) -> int:
        """Bytes that `count` elements take when packed without gaps."""
        return -(-integer(count, "count", 0) * self.bits // 8)

    def narrow(self) -> IntFormat:
        """The same format without its lowest code."""
        return replace(self, narrow_range=True)

    def __repr__(self) -> str:
        """The name and the codes, e.g. `int8 [-128, 127]`."""
        return f"{self.name} [{self.qmin}, {self.qmax}]"


INT2, INT3, INT4, INT5, INT6, INT7, INT8 = (IntFormat(b) for b in range(2, 9))
UINT2, UINT3, UINT4, UINT5, UINT6, UINT7, UINT8 = (IntFormat(b, signed=False) for b in range(2, 9))
INT16, UINT16, INT32 = IntFormat(16), IntFormat(16, signed=False), IntFormat(32)

INT_FORMATS = (
    INT2, INT3, INT4, INT5, INT6, INT7, INT8, INT16, INT32,
    UINT2, UINT3, UINT4, UINT5, UINT6, UINT7, UINT8, UINT16,
)  # fmt: skip


class Specials(Enum):
    """What the topmost exponent code of a float format means."""

    IEEE = "mantissa zero is infinity, the rest NaN"
    NAN_ONLY = "only the all-ones code is NaN, everything else a number (the `fn` of E4M3FN)"
    NONE = "every code is a number"


@dataclass(frozen=True)
class FloatFormat:
    """A binary float format: sign, exponent, mantissa, and what its special codes mean.

    `value = (−1)^sign · 2^(exponent − bias) · (1 + mantissa / 2^mantissa_bits)` for a normal
    number; exponent code 0 is zero and the subnormals, `2^(1 − bias) · mantissa / 2^mantissa_bits`.
    Sources: IEEE 754-2019 §3.4; OCP OFP8 1.0 §4.1; OCP MX 1.0 §5.3.
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    specials: Specials = Specials.IEEE

    def __post_init__(self) -> None:
        """Refuse fields that float64, in which all is decoded, could not hold."""
        check_type(self.name, str, "name")
        check_type(self.specials, Specials, "specials")
        for field, least, most in (("exponent_bits", 2, 11), ("mantissa_bits", 1, 52)):
            object.__setattr__(self, field, integer(getattr(self, field), field, least, most))

    @property
    def bits(self) -> int:
        """Width with the sign."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        """What is subtracted from the stored exponent: 2^(exponent_bits − 1) − 1."""
        return int(2 ** (self.exponent_bits - 1) - 1)

    @property
    def max_exponent(self) -> int:
        """The unbiased exponent of the largest finite number."""
        top = 2**self.exponent_bits - 1 - self.bias
        return top - 1 if self.specials is Specials.IEEE else top

    def __repr__(self) -> str:
        """The name and the fields, e.g. `float16 (1 sign, 5 exponent, 10 mantissa)`."""
        fields = f"1 sign, {self.exponent_bits} exponent, {self.mantissa_bits} mantissa"
        return f"{self.name} ({fields})"


FLOAT64 = FloatFormat("float64", 11, 52)
FLOAT32 = FloatFormat("float32", 8, 23)
FLOAT16 = FloatFormat("float16", 5, 10)
BFLOAT16 = FloatFormat("bfloat16", 8, 7)
FLOAT8_E5M2 = FloatFormat("float8_e5m2", 5, 2)
FLOAT8_E4M3FN = FloatFormat("float8_e4m3fn", 4, 3, Specials.NAN_ONLY)
FLOAT6_E3M2 = FloatFormat("float6_e3m2", 3, 2, Specials.NONE)
FLOAT6_E2M3 = FloatFormat("float6_e2m3", 2, 3, Specials.NONE)
FLOAT4_E2M1 = FloatFormat("float4_e2m1", 2, 1, Specials.NONE)

FLOAT_FORMATS = (
    FLOAT64, FLOAT32, FLOAT16, BFLOAT16,
    FLOAT8_E5M2, FLOAT8_E4M3FN, FLOAT6_E3M2, FLOAT6_E2M3, FLOAT4_E2M1,
)  # fmt: skip


_ALIASES = {
    FLOAT64: "fp64 f64 double",
    FLOAT32: "fp32 f32 single float",
    FLOAT16: "fp16 f16 half",
    BFLOAT16: "bf16",
    FLOAT8_E5M2: "e5m2 fp8_e5m2 f8e5m2",
    FLOAT8_E4M3FN: "e4m3 e4m3fn fp8_e4m3 fp8_e4m3fn float8_e4m3 f8e4m3fn",
    FLOAT6_E3M2: "e3m2 fp6_e3m2 float6_e3m2fn",
    FLOAT6_E2M3: "e2m3 fp6_e2m3 float6_e2m3fn",
    FLOAT4_E2M1: "e2m1 fp4 fp4_e2m1 float4_e2m1fn",
}


def format_named(name: str) -> IntFormat | FloatFormat:
    """The format of a name, in any case: its own, or one that people use for it.

    Raises:
        ValueError: no format has the name.

    >>> format_named("BF16"), format_named("u8"), format_named("e4m3").name
    (bfloat16 (1 sign, 8 exponent, 7 mantissa), uint8 [0, 255], 'float8_e4m3fn')
    """
    check_type(name, str, "name")
    wanted = name.strip().lower()
    for fmt, aliases in _ALIASES.items():
        if wanted == fmt.name or wanted in aliases.split():
            return fmt
    if found := re.fullmatch(r"(u?int|[isu])(\d{1,2})(_narrow)?", wanted):
        signed, bits = not found[1].startswith("u"), int(found[2])
        if 2 <= bits <= 16 or (bits == 32 and signed):
            return IntFormat(bits, signed, found[3] is not None)
    known = ", ".join(fmt.name for fmt in (*FLOAT_FORMATS, *INT_FORMATS))
    raise ValueError(f"name is {name!r}; allowed are {known}, and short names such as fp16 or u8")
