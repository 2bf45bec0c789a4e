"""The bit inspector and the float formats, against ml_dtypes, NumPy, gfloat and struct."""

import math
import struct
from fractions import Fraction
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from gfloat import RoundMode
from gfloat import decode_float as gfloat_decode
from gfloat import formats as gf
from gfloat import round_float as gfloat_round
from hypothesis import example, given
from hypothesis import strategies as st

from numq.bits import inspect_float, inspect_int
from numq.codec import decode_float, encode_float
from numq.formats import (
    BFLOAT16,
    FLOAT4_E2M1,
    FLOAT6_E2M3,
    FLOAT6_E3M2,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT4,
    INT8,
    INT16,
    INT32,
    UINT4,
    UINT8,
    FloatFormat,
    IntFormat,
)

# Format, ml_dtypes' or NumPy's type, gfloat's; the largest number, and what lies beyond it
# (OCP OFP8 1.0 table 1, OCP MX 1.0 §5.3).
TABLE = (
    (FLOAT16, np.float16, gf.format_info_binary16, 65504.0, "inf"),
    (BFLOAT16, ml_dtypes.bfloat16, gf.format_info_bfloat16, (2 - 2.0**-7) * 2.0**127, "inf"),
    (FLOAT8_E5M2, ml_dtypes.float8_e5m2, gf.format_info_ocp_e5m2, 57344.0, "inf"),
    (FLOAT8_E4M3FN, ml_dtypes.float8_e4m3fn, gf.format_info_ocp_e4m3, 448.0, "nan"),
    (FLOAT6_E3M2, ml_dtypes.float6_e3m2fn, gf.format_info_ocp_e3m2, 28.0, "normal"),
    (FLOAT6_E2M3, ml_dtypes.float6_e2m3fn, gf.format_info_ocp_e2m3, 7.5, "normal"),
    (FLOAT4_E2M1, ml_dtypes.float4_e2m1fn, gf.format_info_ocp_e2m1, 6.0, "normal"),
)
DTYPES = {format: dtype for format, dtype, *_ in TABLE}
GFLOAT = {format: info for format, _, info, *_ in TABLE}
LARGEST = {format: end for format, _, _, *end in TABLE}
every_format = pytest.mark.parametrize("format", DTYPES, ids=lambda f: f.name)


def word(format: FloatFormat) -> np.dtype:
    return np.dtype(np.uint16 if format.bits == 16 else np.uint8)


def same(a: float, b: float) -> bool:
    """Equal in value and in sign; NaN equals NaN, its sign is no part of the value."""
    return (math.isnan(a) and math.isnan(b)) or (
        a == b and math.copysign(1, a) == math.copysign(1, b)
    )


def decoded(format: FloatFormat) -> np.ndarray:
    """What the library reads in every code."""
    with np.errstate(invalid="ignore"):  # widening a signalling NaN
        return (
            np.arange(2**format.bits).astype(word(format)).view(DTYPES[format]).astype(np.float64)
        )


def numbers(format: FloatFormat) -> list[float]:
    """Zero and all positive finite numbers, ascending: index and code are one."""
    values = decoded(format)[: 2 ** (format.bits - 1)]
    return values[np.isfinite(values)].tolist()


@every_format
def test_decodes_every_code(format):
    for code, expected in enumerate(decoded(format).tolist()):
        ours = decode_float(code, format)
        assert same(ours, expected), (code, ours, expected)
        assert same(ours, gfloat_decode(GFLOAT[format], code).fval), (code, ours)


@every_format
def test_encoding_inverts_decoding(format):
    for code in range(2**format.bits):
        value = decode_float(code, format)
        if not math.isnan(value):
            assert encode_float(value, format) == code  # -0.0 and both infinities among them


@every_format
def test_rounds_to_the_nearest_and_ties_to_even(format):
    # Built from the neighbours, not from a cast: ml_dtypes goes to bfloat16 by way of float32 and
    # so rounds twice. The midpoint of two neighbours is exact in float64.
    finite = numbers(format)
    sign = 2 ** (format.bits - 1)
    for code, (low, high) in enumerate(pairwise(finite)):
        middle = (low + high) / 2
        even = code + code % 2
        assert encode_float(middle, format) == even, (low, high)
        assert encode_float(math.nextafter(middle, -math.inf), format) == code, (low, high)
        assert encode_float(math.nextafter(middle, math.inf), format) == code + 1, (low, high)
        assert encode_float(-middle, format) == sign + even, (low, high)
        if format.bits < 16:
            assert encode_float(math.nextafter(-middle, -math.inf), format) == sign + code + 1
            assert encode_float(math.nextafter(-middle, math.inf), format) == sign + code


@every_format
def test_midpoints_agree_with_the_libraries(format):
    finite = numbers(format)
    middles = [(a + b) / 2 for a, b in pairwise(finite)]
    middles += [-m for m in middles]
    theirs = np.array(middles).astype(DTYPES[format]).view(word(format)).tolist()
    assert [encode_float(m, format) for m in middles] == theirs
    for middle in middles[:: 1 if format.bits < 16 else 97]:
        for x in (middle, math.nextafter(middle, math.inf), math.nextafter(middle, -math.inf)):
            rounded = gfloat_round(GFLOAT[format], x, RoundMode.TiesToEven, sat=True)
            assert same(decode_float(encode_float(x, format), format), rounded), x


@every_format
def test_overflow_threshold(format):
    finite = numbers(format)
    largest, beyond = LARGEST[format]
    assert finite[-1] == largest
    assert math.floor(math.log2(largest)) == format.max_exponent
    tie = largest + (finite[-1] - finite[-2]) / 2
    top = encode_float(largest, format)
    # IEEE formats end at an odd code, so that the tie overflows; 448 of E4M3FN is even and stays.
    after_tie = {"inf": top + 1, "nan": top, "normal": top}[beyond]
    after = top if beyond == "normal" else top + 1
    sign = 2 ** (format.bits - 1)
    wanted = {math.nextafter(tie, 0): top, tie: after_tie, math.nextafter(tie, math.inf): after}
    for x, code in wanted.items():
        assert (encode_float(x, format), encode_float(-x, format)) == (code, sign + code)
    for x in (1.7e308, math.inf):
        assert inspect_float(x, format).kind == beyond
        with np.errstate(over="ignore"):
            theirs = np.array([x, -x]).astype(DTYPES[format]).view(word(format)).tolist()
        assert (
            [encode_float(x, format), encode_float(-x, format)] == theirs == [after, sign + after]
        )


@every_format
def test_nan(format):
    if format in (FLOAT6_E3M2, FLOAT6_E2M3, FLOAT4_E2M1):
        with pytest.raises(ValueError, match=f"NaN; allowed in {format.name} are numbers"):
            encode_float(math.nan, format)
        return
    for x in (math.nan, math.copysign(math.nan, -1)):
        code = encode_float(x, format)
        assert code == int(np.array(x).astype(DTYPES[format]).view(word(format)))
        assert inspect_float(x, format).kind == "nan"
        assert repr(inspect_float(x, format)).endswith("nan")


@pytest.mark.parametrize(("format", "letters"), [(FLOAT32, "fI"), (FLOAT64, "dQ")])
@given(data=st.data())
def test_wide_formats_decode_as_struct_does(format, letters, data):
    code = data.draw(st.integers(0, 2**format.bits - 1))
    (expected,) = struct.unpack(f"<{letters[0]}", struct.pack(f"<{letters[1]}", code))
    assert same(decode_float(code, format), expected)
    if not math.isnan(expected):
        assert encode_float(expected, format) == code


@given(st.floats(allow_nan=False))
@example(1 + 2.0**-24)  # a tie, down to even
@example(1 + 3 * 2.0**-24)  # a tie, up to even
@example(1 + 2.0**-24 + 2.0**-52)  # just above the tie
@example(2.0**-150)  # half of the smallest subnormal: to zero
@example(-(2.0**-150) * (1 + 2.0**-52))
@example(2.0**-126 - 2.0**-150)  # the largest subnormal carries into the normals
@example(float.fromhex("0x1.ffffffp127"))  # the overflow tie
@example(float.fromhex("0x1.fffffefffffffp127"))
@example(-0.0)
def test_float32_and_float64_encode_as_struct_does(value):
    assert encode_float(value, FLOAT64) == struct.unpack("<Q", struct.pack("<d", value))[0]
    try:
        (expected,) = struct.unpack("<I", struct.pack("<f", value))
    except OverflowError:  # struct refuses where IEEE 754 gives infinity
        expected = 0x7F800000 | (0x80000000 if value < 0 else 0)
    assert encode_float(value, FLOAT32) == expected


@every_format
def test_the_fields_are_the_value(format):
    for code in range(0, 2**format.bits, 1 if format.bits < 16 else 251):
        bits = inspect_float(decode_float(code, format), format)
        if bits.kind in ("inf", "nan"):
            continue
        hidden = int(bits.kind == "normal")
        significand = hidden + Fraction(bits.mantissa, 2**format.mantissa_bits)
        power = Fraction(2) ** (max(bits.exponent, 1) - format.bias)
        assert (-1) ** bits.sign * power * significand == Fraction(bits.value)
        assert bits.kind == ("zero" if bits.value == 0 else "normal" if hidden else "subnormal")


E_HALF = """\
float16  2.718281828459045 -> 2.71875  (error +4.7e-04)
  0 10000 0101110000
  sign 0 (+)  exponent 16 - bias 15 = 1  significand 1 + 368/1024
  value = +2^1 * 1.359375"""
E_SINGLE = """\
float32  2.718281828459045 -> 2.7182817459106445  (error -8.3e-08)
  0 10000000 01011011111100001010100
  sign 0 (+)  exponent 128 - bias 127 = 1  significand 1 + 3012692/8388608
  value = +2^1 * 1.3591408729553223"""
E_DOUBLE = """\
float64  2.718281828459045 -> 2.718281828459045  (exact)
  0 10000000000 0101101111110000101010001011000101000101011101101001
  sign 0 (+)  exponent 1024 - bias 1023 = 1  significand 1 + 1617426887497577/4503599627370496
  value = +2^1 * 1.3591409142295225"""
SUBNORMAL = """\
float8_e4m3fn  -0.004 -> -0.00390625  (error +9.4e-05)
  1 0000 010
  sign 1 (-)  exponent 1 - bias 7 = -6  significand 0 + 2/8  (exponent field 0 reads as 1: subnormal)
  value = -2^-6 * 0.25"""  # noqa: E501
INFINITE = "float16  -inf -> -inf\n  1 11111 0000000000\n  sign 1 (-)  inf"


@pytest.mark.parametrize(
    ("value", "format", "text"),
    [
        (math.e, FLOAT16, E_HALF),
        (math.e, FLOAT32, E_SINGLE),
        (math.e, FLOAT64, E_DOUBLE),
        (-0.004, FLOAT8_E4M3FN, SUBNORMAL),
        (-math.inf, FLOAT16, INFINITE),
    ],
)
def test_float_text(value, format, text):
    assert repr(inspect_float(value, format)) == text


@pytest.mark.parametrize(
    ("value", "format", "text"),
    [
        (1024, INT16, "int16  1024 fits [-32768, 32767]\n  00000100 00000000"),
        (
            1024,
            INT32,
            "int32  1024 fits [-2147483648, 2147483647]\n  00000000 00000000 00000100 00000000",
        ),
        (
            255 * 2,
            UINT8,
            "uint8  510 does not fit [0, 255]: it needs 9 bits\n"
            "  11111110\n  the low 8 bits alone read 254",
        ),
        (-1, INT4, "int4  -1 fits [-8, 7]\n  1111"),
        (-3, IntFormat(12), "int12  -3 fits [-2048, 2047]\n  1111 11111101"),
        (
            -1,
            UINT8,
            "uint8  -1 does not fit [0, 255]: it needs a sign\n"
            "  11111111\n  the low 8 bits alone read 255",
        ),
        (
            -129,
            INT8,
            "int8  -129 does not fit [-128, 127]: it needs 9 bits\n"
            "  01111111\n  the low 8 bits alone read 127",
        ),
        (
            -128,
            INT8.narrow(),
            "int8_narrow  -128 does not fit [-127, 127]: it is the code that a narrow range "
            "leaves out\n  10000000\n  the low 8 bits alone read -128",
        ),
    ],
)
def test_int_text(value, format, text):
    assert repr(inspect_int(value, format)) == text


@pytest.mark.parametrize("format", [INT4, UINT4, INT8, INT8.narrow(), UINT8], ids=lambda f: f.name)
def test_int_bits(format):
    for value in range(-600, 601):
        bits = inspect_int(value, format)
        assert bits.fits == (format.qmin <= value <= format.qmax)
        assert bits.code == value & (2**format.bits - 1)
        assert (bits.value - value) % 2**format.bits == 0
        wide = IntFormat(format.bits, format.signed)
        assert wide.qmin <= bits.value <= wide.qmax
        signed = format.signed or value < 0
        low = (lambda n: -(2 ** (n - 1))) if signed else (lambda n: 0)
        high = (lambda n: 2 ** (n - 1) - 1) if signed else (lambda n: 2**n - 1)
        assert bits.bits_needed == next(n for n in range(1, 32) if low(n) <= value <= high(n))


@pytest.mark.parametrize("code", [-1, 2**16])
def test_a_code_of_more_bits_is_refused(code):
    with pytest.raises(ValueError, match="allowed for float16 are 0 to 65535"):
        decode_float(code, FLOAT16)


@pytest.mark.parametrize("value", [2.5, "7", math.nan])
def test_an_integer_format_takes_integers_only(value):
    with pytest.raises(TypeError):  # int() would drop the fraction without a word
        inspect_int(value, INT8)
