"""The definition of every operation in Python integers and fractions: made to be obviously right.

Scalars and loops, no NumPy, no floating-point arithmetic: a float that comes in is read as the
fraction it is, and where a rule computes in float32, each such rounding is spelled out. Tests hold
the NumPy and Numba forms to it with `==`; nothing else in the package imports it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from random import Random

from numq.formats import FLOAT32, FLOAT64, FloatFormat, IntFormat
from numq.requantization import Multiplier, Requantization
from numq.rounding import Overflow, Rounding, ZeroPointOrder
from numq.rules import NonFinite, QuantizeRule, ScaleOp

Matrix = Sequence[Sequence[int]]


def round_fraction(v: Fraction, rounding: Rounding, random: Random | None = None) -> int:
    """`v` as an integer."""
    below = v.numerator // v.denominator
    rest = v - below
    half = Fraction(1, 2)
    match rounding:
        case Rounding.HALF_EVEN:
            return below + (rest > half or (rest == half and below % 2 == 1))
        case Rounding.HALF_AWAY:
            return below + (rest > half or (rest == half and v > 0))
        case Rounding.HALF_UP:
            return below + (rest >= half)
        case Rounding.TOWARD_ZERO:
            return below + (v < 0 and rest > 0)
        case Rounding.FLOOR:
            return below
        case Rounding.CEIL:
            return below + (rest > 0)
        case Rounding.STOCHASTIC:
            if random is None:
                raise ValueError("STOCHASTIC needs random")
            return below + (random.random() < rest)


def clamp(value: int, format: IntFormat) -> int:
    """The nearest code."""
    return min(max(value, format.qmin), format.qmax)


def wrap(value: int, bits: int) -> int:
    """The low bits of the two's complement, read as signed."""
    low = value % 2**bits
    return low - 2**bits if low >= 2 ** (bits - 1) else low


def cast(value: int, bits: int) -> int:
    """x86's conversion: what does not fit becomes the smallest integer."""
    half = 2 ** (bits - 1)
    return value if -half <= value < half else -half


def fit(rounded: int, offset: int, format: IntFormat, overflow: Overflow) -> int:
    """`rounded + offset` as a code of `format`."""
    match overflow:
        case Overflow.SATURATE:
            return clamp(rounded + offset, format)
        case Overflow.WRAP:
            low = (rounded + offset) % 2**format.bits
            return low - 2**format.bits if low > format.qmax else low
        case Overflow.CAST_INT32:
            return clamp(wrap(cast(rounded, 32) + offset, 32), format)
        case Overflow.CAP_CAST_INT32:
            return clamp(wrap(cast(min(rounded, 2**31 - 128), 32) + offset, 32), format)
        case Overflow.CAST_INT64:
            total = nearest_float(Fraction(rounded + offset), FLOAT64)
            return clamp(cast(int(total), 64), format)
        case Overflow.NATIVE:
            raise ValueError("NATIVE is a rule of floats")
        case Overflow.RAISE:
            if clamp(rounded + offset, format) != rounded + offset:
                raise OverflowError(f"{rounded + offset} is outside {format!r}")
            return rounded + offset


def nearest_float(v: Fraction, format: FloatFormat = FLOAT32) -> Fraction | float:
    """`v` rounded to a float format, half to even; ±inf beyond its largest number."""
    if v == 0:
        return Fraction(0)
    exponent = max(_floor_log2(abs(v)), 1 - format.bias)
    step = Fraction(2) ** (exponent - format.mantissa_bits)
    rounded = round_fraction(v / step, Rounding.HALF_EVEN) * step
    limit = Fraction(2) ** (format.max_exponent + 1)
    return rounded if abs(rounded) < limit else math.copysign(math.inf, v)


def _floor_log2(v: Fraction) -> int:
    guess = v.numerator.bit_length() - v.denominator.bit_length()
    return guess if Fraction(2) ** guess <= v else guess - 1


def quantize(
    x: float,
    scale: float,
    zero_point: int,
    format: IntFormat,
    rule: QuantizeRule,
    precision: FloatFormat = FLOAT32,
) -> int:
    """The code of `x`, every intermediate rounded to `precision` as hardware rounds it."""
    if math.isnan(x) and rule.non_finite is NonFinite.NAN_AS_INFINITY:
        return _infinite(math.inf, zero_point, format, rule)
    if math.isnan(x):
        return _nan_code(rule, format, zero_point)
    if math.isinf(x):
        if rule.non_finite is NonFinite.RAISE:
            raise ValueError("x is infinite")
        return _infinite(x * math.copysign(1, scale), zero_point, format, rule)
    steps = _steps(Fraction(x), Fraction(scale), zero_point, rule, precision)
    if isinstance(steps, float):
        return _infinite(steps, zero_point, format, rule)
    offset = zero_point if rule.order is ZeroPointOrder.ROUND_THEN_ADD else 0
    return fit(round_fraction(steps, rule.rounding), offset, format, rule.overflow)


def _steps(
    x: Fraction, scale: Fraction, zero_point: int, rule: QuantizeRule, precision: FloatFormat
) -> Fraction | float:
    """What is rounded to an integer; a float where it has overflowed to ±inf."""
    if rule.scale_op is ScaleOp.DIVIDE:
        steps = nearest_float(x / scale, precision)
    else:
        reciprocal = nearest_float(1 / scale, precision)
        if isinstance(reciprocal, float):
            raise ValueError("the reciprocal of the scale overflows")
        if rule.order is ZeroPointOrder.FUSED_ADD_THEN_ROUND:
            return nearest_float(x * reciprocal + zero_point, precision)
        steps = nearest_float(x * reciprocal, precision)
    if isinstance(steps, float) or rule.order is ZeroPointOrder.ROUND_THEN_ADD:
        return steps
    return nearest_float(steps + zero_point, precision)


def _infinite(x: float, zero_point: int, format: IntFormat, rule: QuantizeRule) -> int:
    """An infinity is larger than every integer that a rule could treat apart."""
    offset = zero_point if rule.order is ZeroPointOrder.ROUND_THEN_ADD else 0
    if rule.overflow is Overflow.WRAP:
        raise ValueError("an infinity does not wrap")
    return fit(2**200 if x > 0 else -(2**200), offset, format, rule.overflow)


def _nan_code(rule: QuantizeRule, format: IntFormat, zero_point: int) -> int:
    match rule.non_finite:
        case NonFinite.RAISE | NonFinite.KEEP:
            raise ValueError("x is NaN")
        case NonFinite.NAN_TO_QMIN:
            return format.qmin
        case NonFinite.NAN_TO_QMAX:
            return format.qmax
        case NonFinite.NAN_TO_ZERO_POINT:
            return zero_point
        case NonFinite.NAN_TO_CODE_ZERO:
            return clamp(0, format)
        case NonFinite.NAN_AS_INFINITY:
            raise AssertionError("taken care of before")


def dequantize(code: int, scale: float, zero_point: int) -> Fraction:
    """`scale · (code − zero_point)`, exactly."""
    return Fraction(scale) * (code - zero_point)


def matmul(a: Matrix, b: Matrix) -> list[list[int]]:
    """`Σ_k a[i][k] · b[k][j]`, unbounded integers."""
    columns = len(b[0]) if b else 0
    return [[sum(row[k] * b[k][j] for k in range(len(b))) for j in range(columns)] for row in a]


def saturating_rounding_doubling_high_mul(a: int, b: int) -> int:
    """`round(a·b / 2^31)` saturated to int32, as gemmlowp writes it: nudge, then truncate."""
    nudge = 2**30 if a * b >= 0 else 1 - 2**30
    quotient = abs(a * b + nudge) // 2**31
    return min(quotient if a * b + nudge >= 0 else -quotient, 2**31 - 1)


def rounding_divide_by_pot(x: int, exponent: int) -> int:
    """`round_half_away(x / 2^exponent)`."""
    return round_fraction(Fraction(x, 2**exponent), Rounding.HALF_AWAY)


def rounding_shift_right(x: int, exponent: int) -> int:
    """`round_half_up(x / 2^exponent)`."""
    return round_fraction(Fraction(x, 2**exponent), Rounding.HALF_UP)


def multiply_single(x: int, multiplier: int, shift: int) -> int:
    """`round_half_up(x · multiplier · 2^(shift − 31))`."""
    return round_fraction(Fraction(x * multiplier) * Fraction(2) ** (shift - 31), Rounding.HALF_UP)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(m, shift) with `real ≈ m · 2^(shift − 31)`, m in [2^30, 2^31) or 0."""
    if real == 0:
        return 0, 0
    shift = _floor_log2(Fraction(real)) + 1
    m = round_fraction(Fraction(real) / Fraction(2) ** (shift - 31), Rounding.HALF_AWAY)
    if m == 2**31:
        m, shift = 2**30, shift + 1
    return (0, 0) if shift < -31 else (m, shift)


def requantize(acc: int, multiplier: float, zero_point: int, format: IntFormat) -> int:
    """`clamp(round_half_even(acc · multiplier) + zero_point)`, the arbiter."""
    exact = Fraction(acc) * Fraction(multiplier)
    return clamp(round_fraction(exact, Rounding.HALF_EVEN) + zero_point, format)


def requantize_by(
    requantization: Requantization,
    acc: int,
    scales: tuple[float, float, float],
    zero_point: int,
    clamps: tuple[int, int],
) -> int:
    """The code of an accumulator by any arithmetic; scales are those of x, w and the output."""
    s_x, s_w, s_y = map(Fraction, scales)
    match requantization.multiplier:
        case Multiplier.FLOAT32:
            product = nearest_float(s_x * s_w)
            assert isinstance(product, Fraction), "x_scale · w_scale overflows"
            multiplier = nearest_float(product / s_y)
        case Multiplier.FLOAT64:
            multiplier = nearest_float(nearest_double(s_x * s_w) / s_y, FLOAT64)
        case Multiplier.Q31:
            exact = s_x * s_w / s_y
            return code_by(
                requantization, acc, *quantize_multiplier(float(exact)), zero_point, clamps
            )
    assert isinstance(multiplier, Fraction)
    return code_by(requantization, acc, multiplier, 0, zero_point, clamps)


def mean_by(
    requantization: Requantization,
    acc: int,
    count: int,
    scales: tuple[float, float],
    zero_point: int,
    clamps: tuple[int, int],
) -> int:
    """The code of the mean of `count` codes that add up to `acc`; scales of x and the output.

    Rules that round twice round what is 22 bits, less those of the count, wider than the sum.
    """
    s_x, s_y = map(Fraction, scales)
    exact = s_x / (s_y * count)
    wide = 1
    while requantization.twice and wide * count * 2 <= 2**22:
        wide *= 2
    match requantization.multiplier:
        case Multiplier.FLOAT32:
            multiplier, shift = _single(s_x / _single(s_y * count)), 0
        case Multiplier.FLOAT64:
            multiplier, shift = nearest_double(exact), 0
        case Multiplier.Q31:
            m, shift = quantize_multiplier(float(nearest_double(exact) / wide))
            multiplier = Fraction(m)
    return code_by(requantization, acc * wide, multiplier, shift, zero_point, clamps)


def code_by(
    requantization: Requantization,
    acc: int,
    multiplier: Fraction | int,
    shift: int,
    zero_point: int,
    clamps: tuple[int, int],
) -> int:
    """The code of an accumulator by its multiplier: float32, float64, or Q31 with a shift."""
    if requantization.fixed:
        whole = scale_by_fixed_point(acc, int(multiplier), shift, requantization) + zero_point
    else:
        precision = FLOAT32 if requantization.multiplier is Multiplier.FLOAT32 else FLOAT64
        steps = _times(nearest_float(Fraction(acc), precision), Fraction(multiplier), precision)
        if requantization.order is ZeroPointOrder.ROUND_THEN_ADD:
            whole = _round_or_end(steps, requantization.rounding) + zero_point
        else:
            moved = _plus(steps, Fraction(zero_point), precision)
            whole = _round_or_end(moved, requantization.rounding)
    return min(max(whole, clamps[0]), clamps[1])


def scale_by_fixed_point(
    acc: int, multiplier: int, shift: int, requantization: Requantization
) -> int:
    """`acc · multiplier · 2^(shift − 31)`, rounded once or twice.

    A left shift that leaves int32 saturates.
    """
    left, right = max(shift, 0), max(-shift, 0)
    held = min(max(acc, -(2**31) // 2**left), (2**31 - 1) // 2**left)
    exact = Fraction(held * 2**left * multiplier, 2**31)
    if requantization.high is not None:
        exact = Fraction(round_fraction(exact, requantization.high))
    return round_fraction(exact / 2**right, requantization.rounding)


def nearest_double(v: Fraction) -> Fraction:
    """`v` rounded to float64, which it must fit."""
    rounded = nearest_float(v, FLOAT64)
    assert isinstance(rounded, Fraction)
    return rounded


def _times(a: Fraction | float, b: Fraction | float, precision: FloatFormat) -> Fraction | float:
    assert isinstance(a, Fraction)
    assert isinstance(b, Fraction)
    return nearest_float(a * b, precision)


def _plus(v: Fraction | float, w: Fraction, precision: FloatFormat) -> Fraction | float:
    return nearest_float(v + w, precision) if isinstance(v, Fraction) else v


def _round_or_end(v: Fraction | float, rounding: Rounding) -> int:
    """An integer; for an infinity one that is beyond every code."""
    if isinstance(v, Fraction):
        return round_fraction(v, rounding)
    return 2**200 if v > 0 else -(2**200)


def add_by(
    requantization: Requantization,
    codes: tuple[int, int],
    scales: tuple[float, float, float],
    zero_points: tuple[int, int, int],
    clamps: tuple[int, int],
) -> int:
    """The sum of two codes as a code, by a named arithmetic: of a, b and the output."""
    (a, b), (s_a, s_b, s_y), (z_a, z_b, z_y) = codes, map(Fraction, scales), zero_points
    steps = (a - z_a, b - z_b)
    if requantization.multiplier is Multiplier.FLOAT32:
        ort = requantization == Requantization.F32_EVEN
        first = z_y if ort or requantization.order is ZeroPointOrder.ADD_THEN_ROUND else 0
        r_a, r_b = _single(s_a / s_y), _single(s_b / s_y)
        constant = _single(first - _single(r_a * z_a + _single(r_b * z_b)))
        total = _single(r_a * a + _single(r_b * b + constant))
        whole = round_fraction(total, requantization.rounding) - first
    elif requantization.multiplier is Multiplier.FLOAT64:
        parts = nearest_double(s_a * steps[0]), nearest_double(s_b * steps[1])
        total = nearest_double(nearest_double(parts[0] + parts[1]) / s_y)
        first = z_y if requantization.order is ZeroPointOrder.ADD_THEN_ROUND else 0
        whole = round_fraction(nearest_double(total + first), requantization.rounding) - first
    elif not requantization.twice:
        r_a, r_b = nearest_double(s_a / s_y), nearest_double(s_b / s_y)
        power = Fraction(2) ** min(31 - (_floor_log2(max(r_a, r_b)) + 1), 50)
        m_a, m_b = (round_fraction(r * power, Rounding.HALF_EVEN) for r in (r_a, r_b))
        whole = round_fraction((m_a * steps[0] + m_b * steps[1]) / power, requantization.rounding)
    else:
        common = 2 * max(s_a, s_b)
        raised = [
            scale_by_fixed_point(v << 20, *quantize_multiplier(float(s / common)), requantization)
            for v, s in zip(steps, (s_a, s_b), strict=True)
        ]
        last = quantize_multiplier(float(common / (s_y * 2**20)))
        whole = scale_by_fixed_point(sum(raised), *last, requantization)
    return min(max(whole + z_y, clamps[0]), clamps[1])


def _single(v: Fraction) -> Fraction:
    """`v` rounded to float32, which it must fit."""
    rounded = nearest_float(v, FLOAT32)
    assert isinstance(rounded, Fraction)
    return rounded
