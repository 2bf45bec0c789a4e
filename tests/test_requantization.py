"""How an accumulator becomes a code: oracle == NumPy == kernel, by whatever rule."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FIXED, FLOATS

from numq.formats import INT8, INT16, UINT8, UINT16
from numq.integer.requantize import Requantizer, requantize
from numq.requantization import Multiplier, Requantization
from numq.rounding import Rounding, ZeroPointOrder
from numq.verify import oracle

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
LATER, FIRST, FUSED = ZeroPointOrder


@st.composite
def sums_near_ties(draw, shift):
    """Half steps of the output and their neighbours; any int32; its ends."""
    unit = Fraction(2) ** (-shift - 1)
    tie = st.builds(lambda i, j: int(i * unit) + j, st.integers(-99, 99), st.integers(-1, 1))
    held = tie.map(lambda v: min(max(v, INT32_MIN), INT32_MAX))
    ends = st.sampled_from([INT32_MIN, INT32_MIN + 1, -(2**24) - 1, 2**24 + 1, INT32_MAX])
    return draw(st.lists(held | st.integers(INT32_MIN, INT32_MAX) | ends, min_size=1, max_size=9))


@st.composite
def cases(draw):
    """(requantizer, (M, N) sums): scalar or per channel, 8 or 16 bits, with and without ReLU."""
    requantization = draw(st.sampled_from(Requantization.NAMED) | st.sampled_from(FLOATS + FIXED))
    format = draw(st.sampled_from([INT8, UINT8, INT16, UINT16]))
    count = draw(st.sampled_from([None, 1, 3]))
    shift = draw(st.integers(-31, 30))
    shape = () if count is None else (count,)
    if requantization.fixed:
        some = st.sampled_from([0, 2**30, 3 * 2**29, INT32_MAX]) | st.integers(2**30, INT32_MAX)
        shifts = np.full(shape, shift, np.int32)
    else:
        some = st.sampled_from([0.5, 0.75, 1.0]) | st.floats(0.5, 1, width=32)
        shifts = np.zeros((), np.int32)
    dtype = {Multiplier.FLOAT32: np.float32, Multiplier.FLOAT64: np.float64}.get(
        requantization.multiplier, np.int32
    )
    drawn = np.array([draw(some) for _ in range(count or 1)], dtype).reshape(shape)
    factors = drawn if requantization.fixed else np.ldexp(drawn, shift)
    zero_point = draw(st.integers(format.qmin, format.qmax))
    qmin = draw(st.sampled_from([format.qmin, zero_point]))
    r = Requantizer(requantization, factors, shifts, zero_point, qmin, format.qmax, format)
    column = np.array(draw(sums_near_ties(shift)), np.int32)
    return r, np.repeat(column[:, None], count or 2, axis=1)


@given(cases())
def test_oracle_numpy_and_kernel_agree_on_every_rule(case):
    r, sums = case
    n = sums.shape[1]
    factors, shifts = (np.broadcast_to(a, n).tolist() for a in (r.multiplier, r.shift))
    exact = [
        [
            oracle.code_by(r.requantization, acc, Fraction(m), s, r.zero_point, (r.qmin, r.qmax))
            for acc, m, s in zip(row, factors, shifts, strict=True)
        ]
        for row in sums.tolist()
    ]
    assert r.in_numpy(sums).tolist() == exact
    ours = requantize(sums, r)
    assert ours.dtype == r.format.dtype
    assert ours.tolist() == exact


def test_names_and_what_they_are_made_of():
    names = ["F32_EVEN", "F64_AWAY", "GEMMLOWP_DOUBLE", "RUY_DOUBLE_UP", "FIXED_SINGLE_UP"]
    assert [requantization.name for requantization in Requantization.NAMED] == names
    assert [getattr(Requantization, name) for name in names] == list(Requantization.NAMED)
    assert repr(Requantization.F32_EVEN) == "Requantization.F32_EVEN(FLOAT32 multiplier, HALF_EVEN)"
    first = Requantization(Multiplier.FLOAT64, Rounding.HALF_EVEN, order=FIRST)
    assert first.name == "FLOAT64 multiplier, HALF_EVEN, the zero point added first"
    assert repr(first) == f"Requantization({first.name})"


def test_the_order_decides_ties_with_an_odd_zero_point():
    def code(order):
        requantization = Requantization(Multiplier.FLOAT64, Rounding.HALF_EVEN, order=order)
        r = Requantizer(requantization, np.float64(0.5), np.int32(0), 1, -128, 127, INT8)
        return requantize([5], r).tolist()

    assert (code(LATER), code(FIRST)) == ([3], [4])  # 2.5: to 2, then + 1; 3.5 to 4


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"multiplier": "Q31"}, TypeError, "multiplier is 'Q31'; allowed are Multiplier"),
        ({"rounding": None}, TypeError, "rounding is None; allowed are Rounding"),
        ({"high": 1}, TypeError, r"high is 1; allowed are .*Rounding \| None"),
        ({"order": True}, TypeError, "order is True; allowed are ZeroPointOrder"),
        ({"rounding": Rounding.STOCHASTIC}, ValueError, "rounding is STOCHASTIC; allowed"),
        ({"high": Rounding.STOCHASTIC}, ValueError, "high is STOCHASTIC; allowed"),
        (
            {"multiplier": Multiplier.FLOAT32, "high": Rounding.HALF_UP},
            ValueError,
            "high is HALF_UP; allowed beside a FLOAT32 multiplier is None",
        ),
        ({"order": FIRST}, ValueError, "order is ADD_THEN_ROUND; allowed beside a Q31 multiplier"),
        (
            {"multiplier": Multiplier.FLOAT64, "order": FUSED},
            ValueError,
            "order is FUSED_ADD_THEN_ROUND; .* FLOAT64 multiplier: ROUND_THEN_ADD, ADD_THEN_ROUND",
        ),
    ],
)
def test_what_is_not_defined_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        Requantization(**{"multiplier": Multiplier.Q31, "rounding": Rounding.HALF_UP, **fields})
