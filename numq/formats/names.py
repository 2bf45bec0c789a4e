"""The formats by name: their own, and what people call them."""

from __future__ import annotations

import re

from numq.arrays import check_type
from numq.formats.floats import (
    BFLOAT16,
    FLOAT4_E2M1,
    FLOAT6_E2M3,
    FLOAT6_E3M2,
    FLOAT8_E3M4,
    FLOAT8_E4M3,
    FLOAT8_E4M3B11FNUZ,
    FLOAT8_E4M3FN,
    FLOAT8_E4M3FNUZ,
    FLOAT8_E5M2,
    FLOAT8_E5M2FNUZ,
    FLOAT8_E8M0FNU,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    FLOAT_FORMATS,
)
from numq.formats.format import Format
from numq.formats.integers import INT_FORMATS, IntFormat
from numq.formats.tables import NF4

FORMATS: tuple[Format, ...] = (*FLOAT_FORMATS, *INT_FORMATS, NF4)

_ALIASES: dict[Format, str] = {
    FLOAT64: "fp64 f64 double",
    FLOAT32: "fp32 f32 single float",
    FLOAT16: "fp16 f16 half",
    BFLOAT16: "bf16",
    FLOAT8_E5M2: "e5m2 fp8_e5m2 f8e5m2",
    FLOAT8_E5M2FNUZ: "e5m2fnuz fp8_e5m2fnuz f8e5m2fnuz",
    FLOAT8_E4M3: "f8e4m3",
    FLOAT8_E4M3FN: "e4m3 e4m3fn fp8_e4m3 fp8_e4m3fn f8e4m3fn",
    FLOAT8_E4M3FNUZ: "e4m3fnuz fp8_e4m3fnuz f8e4m3fnuz",
    FLOAT8_E4M3B11FNUZ: "e4m3b11fnuz f8e4m3b11fnuz",
    FLOAT8_E3M4: "e3m4 f8e3m4",
    FLOAT8_E8M0FNU: "e8m0 e8m0fnu ue8m0 fp8_e8m0 float8_e8m0 f8e8m0fnu",
    FLOAT6_E3M2: "e3m2 fp6_e3m2 float6_e3m2fn",
    FLOAT6_E2M3: "e2m3 fp6_e2m3 float6_e2m3fn",
    FLOAT4_E2M1: "e2m1 fp4 fp4_e2m1 float4_e2m1fn",
    NF4: "normalfloat4",
}


def format_named(name: str) -> Format:
    """The format of a name, in any case: its own, or one that people use for it.

    Raises:
        ValueError: no format has the name.

    >>> format_named("BF16"), format_named("u8"), format_named("e4m3").name, format_named("nf4")
    (bfloat16 (1 sign, 8 exponent, 7 mantissa), uint8 [0, 255], 'float8_e4m3fn', \
nf4 (16 values, -1 to 1))
    """
    check_type(name, str, "name")
    wanted = name.strip().lower()
    for format, aliases in _ALIASES.items():
        if wanted == format.name or wanted in aliases.split():
            return format
    if found := re.fullmatch(r"(u?int|[isu])(\d{1,2})(_narrow)?", wanted):
        signed, bits = not found[1].startswith("u"), int(found[2])
        if 2 <= bits <= 16 or (bits == 32 and signed):
            return IntFormat(bits, signed, found[3] is not None)
    known = ", ".join(format.name for format in FORMATS)
    raise ValueError(f"name is {name!r}; allowed are {known}, and short names such as fp16 or u8")
