"""Every float type that ml_dtypes stores is a `FloatFormat`, to the code; gfloat agrees."""

import gfloat
import gfloat.formats
import ml_dtypes
import numpy as np
import pytest

from numq import codec
from numq.formats import FLOAT8_E8M0FNU, FLOAT_FORMATS, Specials, format_named
from numq.rounding import Overflow

TYPES = {
    name: np.dtype(kind)
    for name, kind in vars(ml_dtypes).items()
    if isinstance(kind, type) and issubclass(kind, np.generic) and "float" in name
} | {name: np.dtype(name) for name in ("float16", "float32", "float64")}
NATIVE = {"overflow": Overflow.NATIVE}


def word(dtype):
    return np.dtype(f"u{dtype.itemsize}")


def test_none_is_missing():
    assert len(TYPES) >= 15
    assert {format_named(name) for name in TYPES} == set(FLOAT_FORMATS)


@pytest.mark.parametrize("name", TYPES)
def test_all_codes_decode_alike(name):
    format, dtype = format_named(name), TYPES[name]
    if format.bits <= 16:
        codes = np.arange(2**format.bits).astype(word(dtype))
    else:
        random = np.random.default_rng(0).integers(0, 2**format.bits, 5000, np.uint64)
        edges = [
            0,
            1,
            format.top,
            format.top + 1,
            format.nan,
            1 << (format.bits - 1),
            1 << format.mantissa_bits,
        ]
        codes = np.concatenate([random, np.array(edges, np.uint64)]).astype(word(dtype))
    with np.errstate(invalid="ignore"):  # signalling NaNs
        expected = codes.view(dtype).astype(np.float64)
    got = format.decode(codes)
    np.testing.assert_array_equal(got, expected)
    assert np.array_equal(np.signbit(got)[~np.isnan(got)], np.signbit(expected)[~np.isnan(got)])
    assert (format.highest, format.lowest) == tuple(map(float, finite_ends(dtype)))


def finite_ends(dtype):
    info = ml_dtypes.finfo(dtype)
    return info.max, info.min


def inputs(format):
    """All float16 and bfloat16 values, and the ties of the format ± one ulp of float32."""
    codes = np.arange(2**16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        halves = [codes.view(d).astype(np.float32) for d in (np.float16, ml_dtypes.bfloat16)]
    x = np.concatenate(halves)
    if format.bits <= 8:
        grid = np.unique(format.decode(format.codes))
        grid = grid[np.isfinite(grid)]
        step = format.end_steps[1]
        ends = np.append(
            (grid[:-1] + grid[1:]) / 2, [format.highest + step / 2, format.highest + step]
        )
        with np.errstate(over="ignore"):
            ties = ends.astype(np.float32)
        beside = [np.nextafter(ties, np.float32(s)) for s in (-np.inf, np.inf)]
        x = np.concatenate([x, ties, *beside])
    return x


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("name", TYPES)
def test_encoding_is_their_cast(name):
    format, dtype = format_named(name), TYPES[name]
    x = inputs(format)
    x = x if format.has_nan else x[~np.isnan(x)]
    if format is FLOAT8_E8M0FNU:  # ml_dtypes 0.5.4 sends all of these to 2^−126, far ones too
        x = x[~((x > 2.0**-127) & (x < 1.5 * 2.0**-127))]
    with np.errstate(invalid="ignore"):
        expected = x.astype(dtype).view(word(dtype))
    got = format.encode(x, **NATIVE)
    same = np.isnan(format.decode(got)) & np.isnan(format.decode(expected))
    assert got[~same].tolist() == expected[~same].tolist()


@pytest.mark.parametrize("overflow", [Overflow.NATIVE, Overflow.SATURATE])
@pytest.mark.parametrize("format", FLOAT_FORMATS, ids=lambda f: f.name)
def test_arrays_equal_the_exact_scalars(format, overflow):
    x = inputs(format)
    x = x if format.has_nan else x[~np.isnan(x)]
    rng = np.random.default_rng(3)
    with np.errstate(invalid="ignore"):
        some = np.concatenate([rng.choice(x, 1500), x[2**17 :][:500]]).astype(np.float64)
    some = np.concatenate([some, some * (1 + 2.0**-40), [5e-324, -5e-324, 1.7e308, -1.7e308]])
    scalars = [codec.encode_float(float(v), format, overflow) for v in some]
    assert format.encode(some, overflow=overflow).tolist() == scalars
    decoded = format.decode(np.array(scalars, format.dtype))
    np.testing.assert_array_equal(decoded, [codec.decode_float(c, format) for c in scalars])


GFLOAT = {
    "float8_e5m2": "ocp_e5m2", "float8_e4m3fn": "ocp_e4m3", "float8_e8m0fnu": "ocp_e8m0",
    "float6_e3m2": "ocp_e3m2", "float6_e2m3": "ocp_e2m3", "float4_e2m1": "ocp_e2m1",
    "bfloat16": "bfloat16", "float16": "binary16",
}  # fmt: skip


@pytest.mark.parametrize("name", GFLOAT)
def test_gfloat_says_the_same(name):
    format, theirs = format_named(name), getattr(gfloat.formats, f"format_info_{GFLOAT[name]}")
    codes = np.arange(2**format.bits)[:: max(1, 2**format.bits // 512)]
    values = np.array([gfloat.decode_float(theirs, int(c)).fval for c in codes])
    np.testing.assert_array_equal(format.decode(codes), values)
    rng = np.random.default_rng(5)
    x = rng.normal(0, 1, 300) * 2.0 ** rng.integers(-12, 12, 300)
    if format.specials is Specials.EXPONENT_ONLY:
        x = np.abs(x)
    rounded = [gfloat.round_float(theirs, float(v), sat=True) for v in x]
    assert format.decode(format.encode(x)).tolist() == rounded


@pytest.mark.parametrize("name", [name for name in TYPES if format_named(name).bits <= 16])
def test_their_arrays_come_in(name):
    format, dtype = format_named(name), TYPES[name]
    codes = np.arange(2**format.bits).astype(word(dtype))
    codes = codes[np.isfinite(format.decode(codes))]
    assert format.encode(codes.view(dtype)).tolist() == codes.tolist()
