"""One table of properties for every format: nearest value, idempotent, monotone, saturating.

The oracle is brute force in fractions over all grid values; it shares no code with the codecs.
"""

from fractions import Fraction

import numpy as np
import pytest

from numq.formats import (
    BFLOAT16,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    FLOAT8_E8M0FNU,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    FLOAT_FORMATS,
    INT2,
    INT4,
    INT8,
    NF4,
    UINT3,
    UINT8,
    FloatFormat,
    Specials,
    TableFormat,
)
from numq.rounding import Overflow, Rounding

SMALL = [
    *[format for format in FLOAT_FORMATS if format.bits <= 8],
    FloatFormat("ue4m3", 4, 3, Specials.NAN_ONLY, signed=False),
    FloatFormat("ue3m2", 3, 2, Specials.NONE, bias=0, signed=False),
    FloatFormat("e2m1 by 2^9", 2, 1, bias=10),
    INT2, INT4.narrow(), INT8, UINT3, UINT8,
    NF4,
    TableFormat("ternary", (-1.0, 0.0, 1.0)),
    TableFormat("binary", (-1.0, 1.0)),
    TableFormat("uneven", (-1.0, -1 / 3, 1e-30, 0.1, 0.7, 3.0)),
]  # fmt: skip
WIDE = [FLOAT16, BFLOAT16, FLOAT32, FLOAT64]
DETERMINISTIC = [r for r in Rounding if r is not Rounding.STOCHASTIC]
NAMES = {"ids": lambda v: v.name}


def grid(format):
    """Every finite value, ascending, once."""
    values = np.unique(format.decode(format.codes))
    return values[np.isfinite(values)]


def around(format):
    """Grid values and the middles between them, each ± one ulp, and what lies beyond the ends."""
    values = grid(format)
    middles = values[:-1] / 2 + values[1:] / 2
    thirds = values[:-1] + (values[1:] - values[:-1]) / 3
    exact = np.concatenate([values, middles, thirds])
    reach = [-1e30, -0.0, 0.0, 5e-324, -5e-324, 1e30, 2 * format.lowest, 2 * format.highest]
    beside = [np.nextafter(exact, -np.inf), np.nextafter(exact, np.inf)]
    return np.concatenate([exact, *beside, reach])


def brute(x, format, values, rounding):
    """The grid value that `x` goes to by the rule, by looking at its two neighbours."""
    x = Fraction(x)
    below = [v for v in values if v <= x]
    above = [v for v in values if v >= x]
    if not below or not above:
        return float(values[0] if not below else values[-1])
    low, high = below[-1], above[0]
    if low == high:
        return float(low)
    tie, nearer = x - low == high - x, (high if high - x < x - low else low)
    match rounding:
        case Rounding.FLOOR:
            return float(low)
        case Rounding.CEIL:
            return float(high)
        case Rounding.TOWARD_ZERO:
            return float(low if x >= 0 else high)
        case Rounding.HALF_UP:
            return float(high if tie else nearer)
        case Rounding.HALF_AWAY:
            return float((high if x >= 0 else low) if tie else nearer)
    return float(even(low, high, format) if tie else nearer)


def even(low, high, format):
    """The neighbour whose code is even; for E8M0, whose significands are all odd, the upper one."""
    if format is FLOAT8_E8M0FNU:
        return high
    codes = [int(format.encode(float(v))) for v in (low, high)]
    return low if codes[0] % 2 == 0 else high


@pytest.mark.parametrize("rounding", DETERMINISTIC, **NAMES)
@pytest.mark.parametrize("format", SMALL, **NAMES)
def test_encode_gives_the_neighbour_that_the_rule_names(format, rounding):
    values = [Fraction(v) for v in grid(format)]
    x = around(format)
    x = x[:: max(1, len(x) // 200)] if len(values) > 100 else x
    got = format.decode(format.encode(x, rounding=rounding))
    assert got.tolist() == [brute(v, format, values, rounding) for v in x]


@pytest.mark.parametrize("format", SMALL, **NAMES)
def test_every_code_comes_back(format):
    codes = np.array(format.codes)
    values = format.decode(codes)
    finite = np.isfinite(values)
    assert format.encode(values[finite]).tolist() == codes[finite].tolist()
    assert format.encode(values, overflow=Overflow.NATIVE).tolist() == codes.tolist() if (
        getattr(format, "specials", None) in (Specials.NAN_ONLY, Specials.FNUZ)
    ) else finite.any()  # fmt: skip


@pytest.mark.parametrize("format", SMALL + WIDE, **NAMES)
def test_encode_is_monotone_and_saturates(format):
    x = np.sort(np.concatenate([np.random.default_rng(0).normal(0, 1, 500), np.logspace(-40, 38),
                                -np.logspace(-40, 38), [-np.inf, np.inf]]))  # fmt: skip
    y = format.decode(format.encode(x))
    assert (np.diff(y) >= 0).all()
    assert (y[0], y[-1]) == (format.lowest, format.highest)
    assert format.encode(y).tolist() == format.encode(x).tolist()
    assert format.nearest(x).tolist() == y.tolist()


@pytest.mark.parametrize("format", SMALL, **NAMES)
def test_inside_is_what_saturation_leaves_alone(format):
    x = around(format)
    below, above = format.lowest - format.end_steps[0], format.highest + format.end_steps[1]
    inside = format.inside(x)
    assert inside[(x >= format.lowest) & (x <= format.highest)].all()
    assert not inside[(x <= below) | (x >= above)].any()
    assert format.inside(np.float64(format.highest))


@pytest.mark.parametrize("format", SMALL + WIDE, **NAMES)
def test_a_format_says_what_its_grid_is(format):
    assert format.levels == len(format.codes) if format.bits < 63 else format.levels == 2**64
    assert format.dtype.kind == ("i" if format.codes.start < 0 else "u")
    assert format.dtype.itemsize * 8 >= format.bits
    if format.bits <= 8:
        values = grid(format)
        assert (values[0], values[-1]) == (format.lowest, format.highest)
        ends = values[1] - values[0], values[-1] - values[-2]
        assert ends == format.end_steps
    assert format.packed_nbytes(8) == format.bits


@pytest.mark.parametrize("format", SMALL, **NAMES)
def test_stochastic_rounding_is_right_on_average(format):
    values = grid(format)
    start, end = values[len(values) // 2 - 1 :][:2]
    x = np.full(4000, start + (end - start) / 4)
    got = format.decode(
        format.encode(x, rounding=Rounding.STOCHASTIC, rng=np.random.default_rng(1))
    )
    assert set(got) == {start, end}
    assert np.mean(got == end) == pytest.approx(0.25, abs=0.03)  # four standard deviations: 0.027
    with pytest.raises(ValueError, match=r"rng is None; allowed for Rounding\.STOCHASTIC"):
        format.encode(x, rounding=Rounding.STOCHASTIC)


@pytest.mark.parametrize("format", SMALL, **NAMES)
def test_what_a_format_has_not_is_refused(format):
    if not format.has_nan:
        with pytest.raises(ValueError, match=f"NaN, which has no code; allowed in {format.name}"):
            format.encode([1.0, np.nan])
    with pytest.raises(ValueError, match=r"has values from \S+ to \S+; allowed is"):
        format.decode([format.codes.start, format.codes.stop])
    with pytest.raises(OverflowError, match=r"has 1 outside, the first at \(1,\)"):
        format.encode([format.highest, 1e300], overflow=Overflow.RAISE)
    assert format.encode([format.highest], overflow=Overflow.RAISE).shape == (1,)
    refused = set(Overflow) - set(format.overflows)
    for overflow in refused:
        with pytest.raises(ValueError, match=f"overflow is {overflow.name}; allowed for"):
            format.encode([1.0], overflow=overflow)
    if len(format.zero_points) == 1:
        with pytest.raises(ValueError, match="offset is not 0"):
            format.encode([1.0], offset=1)
        with pytest.raises(TypeError, match="allowed are integer formats"):
            _ = format.qmax


def test_empty_and_scalar():
    for format in SMALL + WIDE:
        assert format.encode(np.zeros((0, 3))).shape == (0, 3)
        assert format.decode(format.encode(np.zeros((0, 3)))).shape == (0, 3)
        assert format.encode(1.0).shape == ()
        assert format.decode(format.encode(format.highest)) == format.highest


def test_directed_rounding_of_e4m3_among_subnormals():
    step = 2.0**-9
    x = np.array([0.25, 1.5, 7.999, -0.25, -1.5]) * step
    up, down = (FLOAT8_E4M3FN.decode(FLOAT8_E4M3FN.encode(x, rounding=r)) / step
                for r in (Rounding.CEIL, Rounding.FLOOR))  # fmt: skip
    assert up.tolist() == [1, 2, 8, 0, -1]
    assert down.tolist() == [0, 1, 7, -1, -2]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: FloatFormat("x", 8, 0, Specials.EXPONENT_ONLY), "signed is True; allowed"),
        (lambda: FloatFormat("x", 4, 3, Specials.FNUZ, signed=False), "signed is False; allowed"),
        (lambda: FloatFormat("x", 4, 3, bias=-1), "bias is -1"),
        (lambda: FloatFormat("x", 4, 3, bias=1073), "bias is 1073; .* to 1072"),
        (lambda: FloatFormat("x", 11, 3, Specials.NONE), "bias is 1023; .* from 1024"),
        (lambda: TableFormat("x", (1.0,)), "values has 1 entries; allowed are 2 to 256"),
        (lambda: TableFormat("x", (0.0, 0.0)), r"values\[1\] is 0"),
        (lambda: TableFormat("x", (-2.0, -1.0)), "the last of values is -1"),
    ],
)  # fmt: skip
def test_fields_that_make_no_format_are_refused(made, message):
    with pytest.raises(ValueError, match=message):
        made()


def test_overflow_depends_on_the_direction_of_rounding():
    format, native = FLOAT8_E5M2, {"overflow": Overflow.NATIVE}
    expected = {
        Rounding.TOWARD_ZERO: [format.highest, format.lowest],
        Rounding.FLOOR: [format.highest, -np.inf],
        Rounding.CEIL: [np.inf, format.lowest],
        Rounding.HALF_EVEN: [np.inf, -np.inf],
    }
    for rounding, values in expected.items():
        got = format.decode(format.encode([1e9, -1e9], rounding=rounding, **native))
        assert got.tolist() == values
        ends = format.decode(format.encode([np.inf, -np.inf], rounding=rounding, **native))
        assert ends.tolist() == [np.inf, -np.inf]


def test_below_an_unsigned_format():
    format = FloatFormat("ue4m3", 4, 3, Specials.NAN_ONLY, signed=False)
    x = [-0.0, -(2.0**-11), -1.0, -np.inf]
    assert format.decode(format.encode(x)).tolist() == [0, 0, 0, 0]
    native = format.decode(format.encode(x, overflow=Overflow.NATIVE))
    np.testing.assert_array_equal(native, [0, 0, np.nan, np.nan])
    assert format.inside(np.array(x)).tolist() == [True, True, False, False]
    with pytest.raises(OverflowError, match=r"has 1 outside, .* at \(1,\): -1"):
        format.encode(x[1:3], overflow=Overflow.RAISE)


def test_nearest_moves_the_grid_of_integers_by_the_zero_point():
    x = np.array([-200.0, -125.5, 0.5, 123.6, 200.0])
    codes = INT8.encode(x, offset=3).astype(np.float64)
    assert INT8.nearest(x, 3).tolist() == (codes - 3).tolist() == [-131, -126, 0, 124, 124]
    assert INT8.inside(x, 3).tolist() == [False, True, True, True, False]


def test_raise_sees_what_rounding_toward_zero_would_hide():
    raising = {"rounding": Rounding.TOWARD_ZERO, "overflow": Overflow.RAISE}
    assert FLOAT8_E5M2.encode([65535.0], **raising).tolist() == [FLOAT8_E5M2.top]
    for value in (65536.0, 1e9, np.inf):
        with pytest.raises(OverflowError, match=r"has 1 outside, .* float8_e5m2"):
            FLOAT8_E5M2.encode([value], **raising)


def test_tables_of_any_length_are_python_floats():
    for length, width in ((2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (256, 8)):
        format = TableFormat("squares", tuple(np.float32(v) for v in np.arange(1, length + 1) ** 2))
        assert format.bits == width
        assert all(type(v) is float for v in format.values)
        assert format.encode(np.square(np.arange(1, length + 1))).tolist() == list(range(length))
    with pytest.raises(ValueError, match="values has 257 entries"):
        TableFormat("squares", tuple(np.arange(257.0)))
    smallest = [TableFormat("x", (-1.0, 0.0, 0.25, 3.0)), FLOAT8_E4M3FN, FLOAT8_E8M0FNU, INT8]
    assert [format.smallest for format in smallest] == [0.25, 2.0**-9, 2.0**-127, 1]


@pytest.mark.parametrize("format", WIDE, **NAMES)
def test_up_and_down_enclose_a_value_between_neighbours(format):
    rng = np.random.default_rng(2)
    codes = np.concatenate([np.arange(200), rng.integers(0, format.top - 1, 2000)])
    low = format.decode(codes.astype(format.dtype))
    high = format.decode((codes + 1).astype(format.dtype))
    between = [low, low + (high - low) / 4, low + (high - low) / 2]  # subnormals, normals, ties
    ways = {"rounding": Rounding.FLOOR}, {"rounding": Rounding.CEIL}
    for x in between:
        down, up = (format.decode(format.encode(x, **way)) for way in ways)
        exact = x == low
        above = np.where(exact, low, high)
        inner = (x != high) & (x >= low)  # float64 itself has nothing between its neighbours
        assert down[inner].tolist() == low[inner].tolist()
        assert up[inner].tolist() == above[inner].tolist()
        mirrored = format.decode(format.encode(-x, **ways[0]))
        assert mirrored.tolist() == (-up).tolist()
