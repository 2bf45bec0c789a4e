"""Rounding and overflow: the NumPy form against the oracle, aimed at ties and bounds."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import DETERMINISTIC, finite32, formats, near_ties

from numq.formats import INT8, INT32, UINT4, IntFormat
from numq.rounding import Overflow, Rounding, round_values
from numq.verify import oracle

# value: half even, away, up, toward zero, floor, ceil
TABLE = {
    -2.5: (-2, -3, -2, -2, -3, -2),
    -1.5: (-2, -2, -1, -1, -2, -1),
    -0.5: (0, -1, 0, 0, -1, 0),
    -0.25: (0, 0, 0, 0, -1, 0),
    0.5: (0, 1, 1, 0, 0, 1),
    1.5: (2, 2, 2, 1, 1, 2),
    2.5: (2, 3, 3, 2, 2, 3),
    2.75: (3, 3, 3, 2, 2, 3),
    0.49999997: (0, 0, 0, 0, 0, 1),  # trunc(x + 0.5) would give 1
    -0.49999997: (0, 0, 0, 0, -1, 0),
    8388609.0: (8388609,) * 6,  # x + 0.5 is no float32 here
}


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_table_of_ties(column, dtype):
    x = np.array(list(TABLE), dtype)
    rounded = round_values(x, DETERMINISTIC[column])
    assert rounded.dtype == dtype
    assert rounded.tolist() == [row[column] for row in TABLE.values()]


@given(
    values=st.lists(near_ties(1.0) | finite32, min_size=1, max_size=20),
    rounding=st.sampled_from(DETERMINISTIC),
)
def test_equals_the_oracle(values, rounding):
    rounded = round_values(np.array(values, np.float32), rounding)
    assert [int(r) for r in rounded] == [
        oracle.round_fraction(Fraction(v), rounding) for v in values
    ]


@pytest.mark.parametrize("rounding", DETERMINISTIC)
def test_infinities_and_nan_pass(rounding):
    rounded = round_values(np.array([np.inf, -np.inf, np.nan]), rounding)
    np.testing.assert_array_equal(rounded, [np.inf, -np.inf, np.nan])


def test_stochastic_rounding_goes_up_as_often_as_the_fraction_says():
    x = np.full(100_000, -2.3)
    rounded = round_values(x, Rounding.STOCHASTIC, np.random.default_rng(0))
    assert set(rounded) == {-3.0, -2.0}
    # A mean of n Bernoulli trials has standard deviation √(p(1−p)/n); five of them.
    assert abs(rounded.mean() - -2.3) < 5 * math.sqrt(0.7 * 0.3 / x.size)


def test_stochastic_rounding_keeps_integers_and_repeats_with_its_seed():
    x = np.array([3.0, -4.0, 0.5, 0.5])
    once, again = (round_values(x, Rounding.STOCHASTIC, np.random.default_rng(7)) for _ in range(2))
    assert once[:2].tolist() == [3.0, -4.0]
    assert once.tolist() == again.tolist()


def test_stochastic_rounding_without_a_generator_says_so():
    with pytest.raises(ValueError, match="rng is None"):
        round_values(np.ones(1), Rounding.STOCHASTIC)


@given(
    values=st.lists(near_ties(1.0) | finite32, min_size=1, max_size=20),
    format=formats | st.just(INT32),
    rounding=st.sampled_from(DETERMINISTIC),
    overflow=st.sampled_from([o for o in INT8.overflows if o is not Overflow.RAISE]),
    offset=st.integers(-(2**16), 2**16),
)
def test_overflow_equals_the_oracle(values, format, rounding, overflow, offset):
    if overflow is Overflow.WRAP:
        format = IntFormat(format.bits, format.signed)
    x = np.array(values, np.float32)
    codes = format.encode(x, rounding=rounding, overflow=overflow, offset=offset)
    assert codes.dtype == format.dtype
    assert codes.tolist() == [
        oracle.fit(oracle.round_fraction(Fraction(v), rounding), offset, format, overflow)
        for v in values
    ]


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        (Overflow.SATURATE, [127, 127, -128, 127, -128]),
        (Overflow.WRAP, [-128, 127, 127, 0, 0]),
        (Overflow.CAST_INT32, [127, 127, -128, -128, -128]),
        (Overflow.CAP_CAST_INT32, [127, 127, -128, 127, -128]),
        (Overflow.CAST_INT64, [127, 127, -128, 127, -128]),
    ],
)
def test_rivals_of_saturation_differ(overflow, expected):
    x = np.array([128.0, 127.0, -129.0, 2.0**40, -(2.0**70)])
    assert INT8.encode(x, overflow=overflow).tolist() == expected


def test_a_sum_in_int32_may_wrap_to_the_other_end():
    """At the cap an offset above 127 is too much, below −2^31 any negative one."""
    x = np.array([2.0**31 - 128, np.inf, -np.inf, -(2.0**31)])
    for offset, expected in (
        (0, [127, 127, -128, -128]), (127, [127, 127, -128, -128]),
        (128, [-128, -128, -128, -128]), (-1, [127, 127, 127, 127]),
    ):  # fmt: skip
        codes = INT8.encode(x, overflow=Overflow.CAP_CAST_INT32, offset=offset)
        assert codes.tolist() == expected
    codes = INT8.encode(x, overflow=Overflow.CAST_INT32, offset=-1)
    assert codes.tolist() == [127, 127, 127, 127]  # what the cast lacks is −2^31, whatever its sign


def test_casting_through_int64_loses_only_what_int64_loses():
    x = np.array([2.0**62, 2.0**63, np.inf, -np.inf])
    assert INT8.encode(x, overflow=Overflow.CAST_INT64).tolist() == [127, -128, -128, -128]


def test_int32_bounds_survive_float32():
    x = np.array([2**31, -(2**31), 3e9, -np.inf, np.inf], np.float32)
    top, bottom = 2**31 - 1, -(2**31)
    assert INT32.encode(x).tolist() == [top, bottom, top, bottom, top]


def test_raise_names_the_first_value_outside():
    x = np.array([[1.0, 2.0], [300.0, -400.0]])
    with pytest.raises(OverflowError, match=r"has 2 outside, .* at \(1, 0\): 300; allowed is int8"):
        INT8.encode(x, overflow=Overflow.RAISE)
    assert INT8.encode(x[0], overflow=Overflow.RAISE).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("x", "overflow", "message"),
    [(np.nan, Overflow.SATURATE, "NaN"), (np.inf, Overflow.WRAP, "infinity")],
)
def test_what_has_no_code_raises(x, overflow, message):
    with pytest.raises(ValueError, match=message):
        UINT4.encode(np.array([x]), overflow=overflow)


def test_a_register_has_no_narrow_range():
    with pytest.raises(ValueError, match="a register wraps over all its codes"):
        INT8.narrow().encode(np.ones(1), overflow=Overflow.WRAP)


@pytest.mark.parametrize("bits", [1, 0, 17, 31, 33, -8])
def test_widths_without_storage_are_refused(bits):
    with pytest.raises(ValueError, match=f"bits is {bits}"):
        IntFormat(bits)
    with pytest.raises(ValueError, match="bits is 32, unsigned"):
        IntFormat(32, signed=False)


def test_every_format_knows_its_ends_storage_and_size():
    for bits in (*range(2, 17), 32):
        for signed in (True, False) if bits < 32 else (True,):
            format = IntFormat(bits, signed)
            low = -(2 ** (bits - 1)) if signed else 0
            assert (format.qmin, format.qmax) == (low, low + 2**bits - 1)
            assert format.narrow().qmin == low + 1
            assert format.levels == 2**bits
            info = np.iinfo(format.dtype)
            assert info.min <= format.qmin
            assert format.qmax <= info.max
            assert format.packed_nbytes(13) == math.ceil(13 * bits / 8)
