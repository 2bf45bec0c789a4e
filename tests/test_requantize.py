"""Fixed-point arithmetic and requantization against the oracle and against LiteRT's kernels."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from numq import integer, kernels
from numq.fixedpoint import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    rounding_shift_right,
    saturating_rounding_doubling_high_mul,
)
from numq.formats import FLOAT64, INT4, INT8, INT16, INT32, UINT8
from numq.granularity import PerChannel
from numq.integer.requantize import (
    Requantization,
    Requantizer,
    prepare_requantizer,
    requantize,
)
from numq.qparams import QParams
from numq.qtensor import QTensor
from numq.verify import oracle

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
int32 = st.integers(INT32_MIN, INT32_MAX) | st.sampled_from(
    [INT32_MIN, INT32_MIN + 1, -(2**30), -1, 0, 1, 2**30, INT32_MAX]
)
ties = st.builds(lambda k, e: (2 * k + 1) << e >> 1, st.integers(-1000, 1000), st.integers(1, 15))


@given(int32 | ties, int32)
def test_high_mul_equals_the_oracle(a, b):
    ours = saturating_rounding_doubling_high_mul(a, b)
    assert ours.dtype == np.int32
    assert int(ours) == oracle.saturating_rounding_doubling_high_mul(a, b)


def test_high_mul_saturates_its_one_overflow():
    assert saturating_rounding_doubling_high_mul(INT32_MIN, INT32_MIN) == INT32_MAX


@given(int32 | ties, st.integers(0, 31))
def test_shifts_equal_the_oracle(x, exponent):
    assert int(rounding_divide_by_pot(x, exponent)) == oracle.rounding_divide_by_pot(x, exponent)
    assert int(rounding_shift_right(x, exponent)) == oracle.rounding_shift_right(x, exponent)


def test_the_two_shifts_differ_on_negative_ties():
    x = [-6, -5, -3, -2, -1, 1, 2, 3, 5]
    assert rounding_divide_by_pot(x, 1).tolist() == [-3, -3, -2, -1, -1, 1, 1, 2, 3]
    assert rounding_shift_right(x, 1).tolist() == [-3, -2, -1, -1, 0, 1, 1, 2, 3]


@given(st.floats(0, 2.0**29) | st.integers(-40, 28).map(lambda e: 2.0**e))
def test_quantize_multiplier_equals_the_oracle(real):
    m, shift = quantize_multiplier(real)
    assert (int(m), int(shift)) == oracle.quantize_multiplier(real)


@pytest.mark.parametrize(
    ("real", "m", "shift"),
    [
        (1.0, 2**30, 1),
        (0.5, 2**30, 0),
        (0.75, 3 * 2**29, 0),
        (1 - 2.0**-40, 2**30, 1),  # rounds to 2^31, which is 2^30 one shift up
        (0.0, 0, 0),
        (2.0**-32, 2**30, -31),
        (2.0**-33, 0, 0),
        (0.5 + 2.0**-32, 2**30 + 1, 0),  # a tie: to the larger, which is odd
        (0.5 + 3 * 2.0**-32, 2**30 + 2, 0),
        (1 + 2.0**-31, 2**30 + 1, 1),
        (2.0**29 * (1 + 2.0**-31), 2**30 + 1, 30),
    ],
)
def test_quantize_multiplier_by_hand(real, m, shift):
    assert [int(v) for v in quantize_multiplier(real)] == [m, shift]


FIXED = [requantization for requantization in Requantization.NAMED if requantization.fixed]


@given(st.integers(-(2**27), 2**27), st.integers(2**30, INT32_MAX), st.integers(-31, 3))
def test_multiplying_equals_the_oracle(x, m, shift):
    single = multiply_by_quantized_multiplier(
        x, m, shift, requantization=Requantization.FIXED_SINGLE_UP
    )
    assert int(single) == oracle.multiply_single(x, m, shift)
    high = oracle.saturating_rounding_doubling_high_mul(x << max(shift, 0), m)
    right = max(-shift, 0)
    double = multiply_by_quantized_multiplier(
        x, m, shift, requantization=Requantization.GEMMLOWP_DOUBLE
    )
    assert int(double) == oracle.rounding_divide_by_pot(high, right)
    up = multiply_by_quantized_multiplier(x, m, shift, requantization=Requantization.RUY_DOUBLE_UP)
    assert int(up) == oracle.rounding_shift_right(high, right)


def test_multiplying_rounds_twice_unless_told_otherwise():
    # By ½ and by ½ again: −2 becomes −1, then −½; 5 becomes 2½, up to 3, then 1½; 6 becomes 3, 1½.
    by_rule = {r: multiply_by_quantized_multiplier([-2, 5, 6], 2**30, -1, requantization=r).tolist()
               for r in FIXED}  # fmt: skip
    assert by_rule[Requantization.FIXED_SINGLE_UP] == [0, 1, 2]
    assert by_rule[Requantization.GEMMLOWP_DOUBLE] == [-1, 2, 2]
    assert by_rule[Requantization.RUY_DOUBLE_UP] == [0, 2, 2]
    default = multiply_by_quantized_multiplier([-2, 5, 6], 2**30, -1).tolist()
    assert default == by_rule[Requantization.GEMMLOWP_DOUBLE]


@pytest.mark.parametrize("rounding", FIXED)
def test_leaving_int32_is_an_error(rounding):
    with pytest.raises(OverflowError, match="allowed is int32"):
        multiply_by_quantized_multiplier(2**30, 2**30, 3, requantization=rounding)
    with pytest.raises(OverflowError, match="x has values from 4294967296"):
        multiply_by_quantized_multiplier(2**32, 2**30, 0, requantization=rounding)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rounding_divide_by_pot(1, 32), ValueError, "exponent has values from 32 to 32"),
        (lambda: rounding_divide_by_pot(1, -1), ValueError, "from -1 to -1; allowed are 0 to 31"),
        (lambda: rounding_divide_by_pot(1.0, 1), TypeError, "x has dtype float64"),
        (
            lambda: multiply_by_quantized_multiplier(1, 1, 31),
            ValueError,
            "from 31 to 31; allowed are -31 to",
        ),
        (lambda: multiply_by_quantized_multiplier(1, -1, 0), ValueError, "multiplier is -1"),
        (
            lambda: multiply_by_quantized_multiplier([1, 2], [2**30] * 3, 0),
            ValueError,
            r"^x has shape \(2,\), multiplier has shape \(3,\), shift has shape \(\); allowed",
        ),
        (
            lambda: saturating_rounding_doubling_high_mul([1, 2], [1] * 3),
            ValueError,
            r"^a has shape \(2,\), b has shape \(3,\); allowed are shapes that broadcast",
        ),
        (
            lambda: rounding_divide_by_pot([1, 2], [1] * 3),
            ValueError,
            r"^x has shape \(2,\), exponent has shape \(3,\); allowed are shapes",
        ),
        (
            lambda: rounding_shift_right([[1], [2]], [[1] * 2] * 3),
            ValueError,
            r"^x has shape \(2, 1\), exponent has shape \(3, 2\); allowed are shapes",
        ),
        (lambda: quantize_multiplier([0.5, -1.0]), ValueError, "real_multiplier is -1.0"),
        (lambda: quantize_multiplier(2.0**30), ValueError, "allowed is"),
        (lambda: quantize_multiplier(np.nan), ValueError, "real_multiplier.* NaN or infinite"),
    ],
)
def test_bad_fixed_point_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Requantization.

# acc · ½ on ties, z = 1: where each rule sends 0.5, 1.5, 2.5 and their negatives.
ACC = [1, 3, 5, -1, -3, -5]
HALVES = {
    Requantization.F32_EVEN: [1, 3, 3, 1, -1, -1],
    Requantization.F64_AWAY: [2, 3, 4, 0, -1, -2],
    # The multiplier ½ needs no shift, so the high product rounds alone, half up.
    Requantization.GEMMLOWP_DOUBLE: [2, 3, 4, 1, 0, -1],
    Requantization.RUY_DOUBLE_UP: [2, 3, 4, 1, 0, -1],
    Requantization.FIXED_SINGLE_UP: [2, 3, 4, 1, 0, -1],
}
# acc · ¼ on ties (2, 6, 10): now the shift by one rounds, and the two double rules part.
QUARTERS = {
    Requantization.F32_EVEN: [1, 3, 3, 1, -1, -1],
    Requantization.F64_AWAY: [2, 3, 4, 0, -1, -2],
    Requantization.GEMMLOWP_DOUBLE: [2, 3, 4, 0, -1, -2],
    Requantization.RUY_DOUBLE_UP: [2, 3, 4, 1, 0, -1],
    Requantization.FIXED_SINGLE_UP: [2, 3, 4, 1, 0, -1],
}


@pytest.mark.parametrize("requantization", Requantization.NAMED)
def test_rules_on_ties_by_hand(requantization):
    out = QParams(1.0, 1, INT8)
    half = prepare_requantizer(0.5, 1.0, out, requantization=requantization)
    assert requantize(ACC, half).tolist() == HALVES[requantization]
    quarter = prepare_requantizer(0.25, 1.0, out, requantization=requantization)
    assert requantize([2 * a for a in ACC], quarter).tolist() == QUARTERS[requantization]


@given(
    acc=st.lists(st.integers(-(2**23), 2**23), min_size=1, max_size=20),
    exponent=st.integers(-16, -1),
    zero_point=st.integers(-128, 127),
)
def test_f32_even_is_exact_while_float32_is(acc, exponent, zero_point):
    out = QParams(1.0, zero_point, INT8)
    ours = requantize(
        acc, prepare_requantizer(2.0**exponent, 1.0, out, requantization=Requantization.F32_EVEN)
    )
    assert ours.tolist() == [oracle.requantize(a, 2.0**exponent, zero_point, INT8) for a in acc]


@given(
    acc=st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=20),
    scales=st.tuples(*[st.floats(2**-8, 2**-1, width=32)] * 2),
    requantization=st.sampled_from(Requantization.NAMED),
)
def test_every_rule_is_within_one_of_exact(acc, scales, requantization):
    out = QParams(1.0, 3, INT16)
    ours = requantize(acc, prepare_requantizer(*scales, out, requantization=requantization))
    exact = [oracle.requantize(a, scales[0] * scales[1], 3, INT16) for a in acc]
    assert np.abs(ours.astype(int) - exact).max() <= 1


def test_multipliers_run_along_the_last_axis_and_relu_clamps():
    out = QParams(1.0, 10, UINT8)
    per_channel = prepare_requantizer(1.0, np.float32([0.5, 0.25]), out, relu=True)
    acc = np.array([[100, 100], [-100, -100], [10**6, -(10**6)]])
    assert requantize(acc, per_channel).tolist() == [[60, 35], [10, 10], [255, 10]]


def test_both_ends_at_once_do_not_wrap():
    out = QParams(1.0, 127, INT8)
    for requantization in Requantization.NAMED:
        r = prepare_requantizer(1.0, 1.0, out, requantization=requantization)
        assert requantize([INT32_MAX, INT32_MIN], r).tolist() == [127, -128]


def test_bad_requantization_arguments_are_named():
    by_channel = QParams([1.0], 0, INT8, PerChannel(0))
    with pytest.raises(ValueError, match="as the output is per tensor"):
        prepare_requantizer(1.0, 1.0, by_channel)
    with pytest.raises(ValueError, match=r"w_scale.* NaN or infinite"):
        prepare_requantizer(1.0, np.nan, QParams(1.0, 0, INT8))
    ready = prepare_requantizer(0.5, 1.0, QParams(1.0, 0, INT8))
    with pytest.raises(TypeError, match="acc has dtype float64"):
        requantize([0.5], ready)


# The ends: multipliers from 2^-33 to 2^30, accumulators at the ends of int32, and ties.

END_SCALES = st.integers(-15, 14).map(lambda e: 2.0**e) | st.floats(2.0**-15, 2.0**14, width=32)


@st.composite
def at_the_ends(draw):
    """(s_x, s_w, s_y) and accumulators that lie on the ties of their quotient, or at the ends."""
    scales = tuple(float(np.float32(draw(END_SCALES))) for _ in range(3))
    exact = Fraction(scales[0]) * Fraction(scales[1]) / Fraction(scales[2])
    assume(exact < 2**30 * (1 - Fraction(1, 2**32)))
    steps = draw(st.lists(st.integers(-300, 300), min_size=1, max_size=8))
    near = [int((k + Fraction(1, 2)) / exact) + draw(st.integers(-1, 1)) for k in steps]
    held = [min(max(v, INT32_MIN), INT32_MAX) for v in near]
    return scales, [*held, INT32_MIN, INT32_MIN + 1, -1, 0, 1, INT32_MAX]


@pytest.mark.parametrize("requantization", Requantization.NAMED)
@settings(max_examples=60)
@given(
    case=at_the_ends(),
    format=st.sampled_from([INT8, UINT8, INT16, INT4.narrow()]),
    relu=st.booleans(),
    data=st.data(),
)
def test_every_rule_is_the_oracles_at_the_ends(requantization, case, format, relu, data):
    (s_x, s_w, s_y), acc = case
    zero_point = data.draw(st.integers(format.qmin, format.qmax))
    clamps = (max(zero_point, format.qmin) if relu else format.qmin, format.qmax)
    r = prepare_requantizer(
        s_x, s_w, QParams(s_y, zero_point, format), requantization=requantization, relu=relu
    )
    wanted = [
        oracle.requantize_by(requantization, a, (s_x, s_w, s_y), zero_point, clamps) for a in acc
    ]
    assert requantize(acc, r).tolist() == wanted
    assert r.in_numpy(np.array(acc, np.int32)).tolist() == wanted


@pytest.mark.parametrize("requantization", Requantization.NAMED)
@pytest.mark.parametrize("exponent", [-200, -100, -34, -33, -32, -31, -30, 0, 15, 28, 29])
def test_powers_of_two_are_exact_to_the_ends_of_int32(requantization, exponent):
    """Half a step off at most, and half of that again where a rule rounds twice."""
    s_x, s_w = 2.0 ** (exponent // 2), 2.0 ** (exponent - exponent // 2)
    r = prepare_requantizer(s_x, s_w, QParams(1.0, -5, INT16), requantization=requantization)
    for acc in (INT32_MIN, INT32_MIN + 1, -3, -1, 0, 1, 3, INT32_MAX):
        wanted = oracle.requantize_by(
            requantization, acc, (s_x, s_w, 1.0), -5, (-(2**15), 2**15 - 1)
        )
        exact = min(max(Fraction(acc) * Fraction(2) ** exponent - 5, -(2**15)), 2**15 - 1)
        assert requantize([acc], r)[0] == wanted
        assert abs(wanted - exact) <= Fraction(3, 4)


def test_what_float32_cannot_hold_is_refused_by_name():
    out, big = QParams(1e-30, 0, INT8), Requantization.F32_EVEN
    for requantization in Requantization.NAMED:
        with pytest.raises(ValueError, match=r"w_scale / the scale of out is 1e\+30; allowed is l"):
            prepare_requantizer(1.0, 1.0, out, requantization=requantization)
        with pytest.raises(ValueError, match=r"x_scale is 1e-44, which float32 holds only as 9.8"):
            prepare_requantizer(1e-44, 1.0, out, requantization=requantization)
        with pytest.raises(ValueError, match="w_scale is 1e-50, which float32 holds only as 0"):
            prepare_requantizer(1.0, [1e-50], out, requantization=requantization)
        with pytest.raises(ValueError, match=r"w_scale is 1e\+39, which float32 holds only as inf"):
            prepare_requantizer(1.0, 1e39, out, requantization=requantization)
        with pytest.raises(ValueError, match=r"w_scale has shape \(1, 2\); allowed are \(\)"):
            prepare_requantizer(1.0, [[1.0, 1.0]], out, requantization=requantization)
        with pytest.raises(TypeError, match="relu is 1; allowed are True and False"):
            prepare_requantizer(1.0, 1.0, out, requantization=requantization, relu=1)
    double = QParams(1e-60, 0, INT8, scale_format=FLOAT64)
    with pytest.raises(ValueError, match="the scale of out is 1e-60, which float32 holds only"):
        prepare_requantizer(1.0, 1.0, double)
    # 2^-70·2^-70 is no normal float32; the quotient 2^-20 is exact, but F32_EVEN never sees it.
    small = QParams(2.0**-120, 0, INT8)
    with pytest.raises(ValueError, match=r"x_scale · w_scale is 7.17.*e-43 in float32"):
        prepare_requantizer(2.0**-70, 2.0**-70, small, requantization=big)
    fixed = prepare_requantizer(2.0**-70, 2.0**-70, small)
    assert requantize([3 * 2**20], fixed).tolist() == [3]
    with pytest.raises(ValueError, match=r"x_scale · w_scale is inf in float32"):
        prepare_requantizer(2.0**67, 2.0**67, QParams(2.0**120, 0, INT8), requantization=big)


READY = {
    "requantization": Requantization.FIXED_SINGLE_UP,
    "multiplier": np.int32(2**30),
    "shift": np.int32(0),
    "zero_point": 0,
    "qmin": -128,
    "qmax": 127,
    "format": INT8,
}
F32 = Requantization.F32_EVEN


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"requantization": "F32_EVEN"}, TypeError, "requantization is 'F32_EVEN'; allowed"),
        ({"format": "int8"}, TypeError, "format is 'int8'"),
        ({"format": INT32}, ValueError, "format is int32; allowed are 16 bits"),
        ({"shift": np.int32(40)}, ValueError, "shift has values from 40 to 40; allowed are -31"),
        ({"shift": np.int32(-40)}, ValueError, "shift has values from -40"),
        ({"shift": np.int32(31)}, ValueError, "shift has values from 31"),
        ({"shift": np.int32(-32)}, ValueError, "shift has values from -32"),
        ({"shift": np.float32(0)}, TypeError, "shift has dtype float32"),
        ({"shift": np.int32([0])}, ValueError, r"has shape \(1,\); allowed is that of"),
        ({"multiplier": np.int32(2**30 - 1)}, ValueError, "is 1073741823; allowed are 0 a"),
        ({"multiplier": np.int32(-1)}, ValueError, "multiplier is -1"),
        ({"multiplier": 2**30}, TypeError, "multiplier is 1073741824"),
        ({"multiplier": np.float32(0.5)}, TypeError, "has dtype float32; .*FIXED_SINGLE"),
        ({"multiplier": np.float64(0.5), "requantization": F32}, TypeError, "float64; "),
        ({"multiplier": np.float32(np.inf), "requantization": F32}, ValueError, "is inf; allowed"),
        ({"multiplier": np.float32([1, np.nan]), "requantization": F32}, ValueError, "is nan"),
        ({"multiplier": np.float32(-1), "requantization": F32}, ValueError, "multiplier is -1.0"),
        ({"multiplier": np.float32(0), "requantization": F32}, ValueError, "is 0.0; allowed"),
        ({"multiplier": np.float32(1), "requantization": F32, "shift": np.int32(1)}, ValueError,
         "from 1 to 1; allowed are 0 to 0"),
        ({"multiplier": np.full((1, 1), 2**30, np.int32)}, ValueError, r"shape \(1, 1\)"),
        ({"zero_point": 128}, ValueError, "zero_point is 128; allowed are integers from -128"),
        ({"zero_point": 1.9}, TypeError, "zero_point is 1.9"),
        ({"zero_point": True}, TypeError, "zero_point is True"),
        ({"qmin": 3, "qmax": 2}, ValueError, "qmin is 3, qmax 2; allowed is qmin <="),
        ({"qmax": 128}, ValueError, "qmax is 128"),
        ({"qmin": -129}, ValueError, "qmin is -129"),
    ],
)  # fmt: skip
def test_a_requantizer_made_by_hand_is_checked(changed, error, message):
    with pytest.raises(error, match=message):
        Requantizer(**READY | changed)


def test_a_requantizer_made_by_hand_runs_and_is_frozen():
    for shift, acc, wanted in ((30, 1, 127), (-31, INT32_MAX, 0), (-31, INT32_MIN, 0), (1, 3, 3)):
        r = Requantizer(**READY | {"shift": np.int32(shift), "zero_point": np.int64(0)})
        assert requantize([acc], r).tolist() == [wanted]
        assert type(r.zero_point) is int
    assert repr(r) == (
        "Requantizer(FIXED_SINGLE_UP, multiplier 1, int8, zero_point 0, clamped to [-128, 127])"
    )
    both = prepare_requantizer(1.0, [0.5, 0.25], QParams(1.0, 0, INT8), requantization=F32)
    assert "multiplier (2,) in 0.25…0.5" in repr(both)
    # 2^128 − 2^104 times an accumulator leaves float32 and is beyond every code.
    huge = np.float32(np.finfo(np.float32).max)
    r = Requantizer(F32, huge, np.int32(0), 0, -128, 127, INT8)
    assert requantize([2, -2, 0], r).tolist() == [127, -128, 0]
    with pytest.raises(TypeError, match="requantizer is 'r'"):
        requantize([1], "r")


@pytest.mark.parametrize(
    ("zero_point", "qmin", "qmax"), [(0, -128, 127), (127, -128, 127), (-5, -5, 9)]
)
def test_the_fused_kernels_are_the_same_at_the_ends(zero_point, qmin, qmax):
    """Sums at the ends of int32 enter as a bias; the product itself is 0."""
    sums = np.array([INT32_MIN, INT32_MIN + 1, -(2**24) - 1, -3, -1, 0, 1, 3, 2**24 + 1, INT32_MAX])
    for multiplier in (2.0**-126, 2.0**-33, 2.0**-31, 2.0**-8, 0.5, 1.5, 2.0**29, 3e38, 1e-40):
        factor = np.full(sums.size, multiplier, np.float32)
        r = Requantizer(F32, factor, np.int32(0), zero_point, qmin, qmax, INT8)
        wanted = requantize(sums, r)
        settings = {"multiplier": factor, "bias": sums.astype(np.int32), "zero_point": zero_point,
                    "qmin": qmin, "qmax": qmax, "dtype": np.int8}  # fmt: skip
        nothing = np.zeros((1, sums.size), np.int8)
        got = kernels.matmul_requantized(nothing[:, :1], nothing, **settings)
        assert got[0].tolist() == wanted.tolist(), multiplier
        picture, weight = np.zeros((1, 1, 1, 1), np.int8), np.zeros((sums.size, 1, 1, 1), np.int8)
        got = kernels.conv2d_requantized(picture, weight, **settings)
        assert got.ravel().tolist() == wanted.tolist(), multiplier
        exact = [Fraction(int(a)) * Fraction(float(np.float32(multiplier))) for a in sums]
        for code, value in zip(wanted, exact, strict=True):
            held = min(max(value + zero_point, qmin), qmax)
            assert abs(int(code) - held) <= Fraction(1, 2) + abs(value) / 2**23 * (abs(value) < 300)


@pytest.mark.parametrize("requantization", Requantization.NAMED)
def test_multipliers_that_cannot_matter_are_nothing(requantization):
    """Below 2^-33 even -2^31 comes to less than ½; the product of the scales may be anything."""
    out = QParams(2.0**-106, 3, INT8)
    r = prepare_requantizer(
        2.0**-70, [2.0**-70, 1.9 * 2.0**-70], out, requantization=requantization
    )  # 2^-34, 1.9·2^-34
    assert r.multiplier.tolist() == [0 if r.multiplier.dtype == np.int32 else 2.0**-126] * 2
    assert requantize([[INT32_MIN, INT32_MAX]], r).tolist() == [[3, 3]]
    normal = prepare_requantizer(
        2.0**-50, 2.0**-50, QParams(2.0**-67, 3, INT8), requantization=requantization
    )  # 2^-33
    assert normal.multiplier in (0, 2.0**-33)
    assert requantize([INT32_MIN], normal) == 3
    with pytest.raises(ValueError, match="w_scale is 1e-50, which float32 holds only as 0"):
        prepare_requantizer(
            1.0, [1.0, 1e-50, 1e-47], out, requantization=requantization
        )  # the first is named


@pytest.mark.parametrize("requantization", Requantization.NAMED)
def test_layers_run_where_no_weight_can_matter(requantization):
    x, out = QParams(2.0**-40, 0, INT8), QParams(1.0, 7, INT8)
    w = QTensor(np.int8([[1, 2]]), QParams(2.0**-40, 0, INT8))
    layer = integer.prepare_linear(x, w, None, out, requantization=requantization)
    assert layer(np.int8([[127, -128]])).tolist() == [[7]]
