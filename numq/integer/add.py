"""Addition of codes: two tensors of codes with scales of their own, one with a third.

    y = clamp(round(r_a·(a − z_a) + r_b·(b − z_b)) + z_y),   r = s / s_y                 (1)

What rounds in (1), and how often, is a named choice, as it is behind a product:

| | arithmetic | who |
|---|---|---|
| F32_EVEN | rint(fma(r_a, a, fma(r_b, b, c))), c = z_y − fma(r_a, z_a, r_b·z_b), float32 | ORT |
| F64_AWAY | (1) in float64, half away from zero | |
| GEMMLOWP_DOUBLE | a and b, times 2^20, to 2·max(s_a, s_b), the sum to s_y, each in Q31 | LiteRT |
| RUY_DOUBLE_UP | the same, the second rounding of each half up | |
| FIXED_SINGLE_UP | both r over one power of two, a 64-bit sum, one rounding half up | |

ORT is QLinearAdd of ONNX Runtime 1.32 on x86-64 with FMA, of two tensors of one shape or where b is
one number; LiteRT is the reference kernel of ADD in LiteRT 2. Both agree to the bit. ORT adds z_y
before it rounds, and F32_EVEN is ORT's; any other arithmetic of floats has the order that it names,
and with a FLOAT32 multiplier that rounds first, c lacks z_y, which follows. F64_AWAY and
FIXED_SINGLE_UP are the exact sum, rounded once, but where it lies within 2^−22·max(r_a, r_b) steps
of a tie; of the exact sum all five are within one code.

Two 8-bit codes have 65 536 answers, all known beforehand: whatever the rule, to run is to look up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import flag
from numq.arrays import Array, Frozen, IntArray, check_type, frozen
from numq.fixedpoint import multiply_by_quantized_multiplier, quantize_multiplier, shifted
from numq.formats import IntFormat, integer_format
from numq.integer.linear import check_codes, check_input
from numq.qparams import QParams
from numq.requantization import Multiplier, Requantization
from numq.rounding import ZeroPointOrder, fma32, round_values


@dataclass(frozen=True, eq=False)
class Add(Frozen):
    """An addition of codes, prepared by `prepare_add`.

    Attributes:
        formats: the codes of a and b.
        answers: (256, 256) codes of the output; the codes are the indices, negative ones from the
            end.
    """

    formats: tuple[IntFormat, IntFormat]
    answers: IntArray

    def __call__(self, a: ArrayLike, b: ArrayLike) -> IntArray:
        """The codes of the sums; shapes broadcast.

        Raises:
            TypeError: codes of another dtype than the formats.
            ValueError: codes outside them, or shapes that do not broadcast.
        """
        x, y = (check_codes(a, self.formats[0], "a"), check_codes(b, self.formats[1], "b"))
        try:
            np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            raise ValueError(
                f"a has shape {x.shape}, b {y.shape}; allowed are shapes that broadcast"
            ) from None
        return self.run(x, y)

    def run(self, a: IntArray, b: IntArray) -> IntArray:
        """The same for codes that are known to be good."""
        row = a.view(np.uint8).astype(np.uint16) << np.uint16(8)
        return self._flat.take(row | b.view(np.uint8))

    @cached_property
    def _flat(self) -> IntArray:
        return self.answers.ravel()

    def __repr__(self) -> str:
        """One line."""
        a, b = (format.name for format in self.formats)
        return f"Add({a} + {b} to {self.answers.dtype})"


def prepare_add(
    a: QParams,
    b: QParams,
    out: QParams,
    *,
    requantization: Requantization = Requantization.F32_EVEN,
    relu: bool = False,
) -> Add:
    """The offline half (com.microsoft QLinearAdd).

    Args:
        a: parameters of the first summand, per tensor, 8 bits or fewer.
        b: the same of the second.
        out: the same of the sum.
        requantization: the arithmetic; the default is ONNX Runtime's, which adds the zero point
            of the sum before it rounds.
        relu: fuse a ReLU: clamp at the output's zero point.

    Raises:
        ValueError: other parameters, or an output scale so much smaller than an input's that every
            code but the zero point saturates: 2^30 times, 2^19 times for rules that round twice.
    """
    for name, params in (("a", a), ("b", b), ("out", out)):
        check_input(params, name)
    relu = flag(relu, "relu")
    check_type(requantization, Requantization, "requantization")
    limit = 19 if requantization.twice else 30
    for name, params in (("a", a), ("b", b)):
        if float(params.scale) / float(out.scale) >= 2.0**limit:
            raise ValueError(
                f"{name} has scale {params.scale:g}, out {out.scale:g}, too small for it; allowed "
                f"for {requantization.name} is a ratio below 2^{limit}"
            )
    sums = _sums(a, b, out, requantization) + int(out.zero_point)
    lowest = max(out.format.qmin, int(out.zero_point)) if relu else out.format.qmin
    answers = np.zeros((256, 256), out.format.dtype)
    codes = np.clip(sums, lowest, out.format.qmax).astype(out.format.dtype)
    answers[np.ix_(_codes(a), _codes(b))] = codes
    formats = integer_format(a.format, "a.format"), integer_format(b.format, "b.format")
    return Add(formats, frozen(answers))


def _codes(params: QParams) -> IntArray:
    """All codes of a format, in order."""
    return np.arange(params.format.qmin, params.format.qmax + 1)


def _steps(a: QParams, b: QParams) -> tuple[IntArray, IntArray]:
    """`code − zero_point` of all codes, those of a down, those of b across."""
    return (
        (_codes(a) - int(a.zero_point))[:, None],
        (_codes(b) - int(b.zero_point))[None, :],
    )


def _sums(a: QParams, b: QParams, out: QParams, requantization: Requantization) -> Array:
    """Rounded sums of all codes in steps of the output, less its zero point."""
    match requantization.multiplier:
        case Multiplier.FLOAT32:
            return _float32(a, b, out, requantization)
        case Multiplier.FLOAT64:
            return _float64(a, b, out, requantization)
        case Multiplier.Q31:
            return (_double if requantization.twice else _one_shift)(a, b, out, requantization)


def _float32(a: QParams, b: QParams, out: QParams, requantization: Requantization) -> Array:
    """ONNX Runtime's: zero points are folded into one constant, sums are fused, then rounded.

    Its own zero point is among them, unless another arithmetic says that it is added last.
    """
    is_ort = requantization == Requantization.F32_EVEN
    first = is_ort or requantization.order is ZeroPointOrder.ADD_THEN_ROUND
    r_a, r_b = (np.float32(p.scale) / np.float32(out.scale) for p in (a, b))
    z_a, z_b = (np.float32(p.zero_point) for p in (a, b))
    z_y = np.float32(out.zero_point if first else 0)
    constant = np.asarray(z_y - fma32(np.asarray(r_a), np.asarray(z_a), np.asarray(r_b * z_b)))
    across = fma32(_codes(b)[None, :].astype(np.float32), np.asarray(r_b), constant)
    total = fma32(_codes(a)[:, None].astype(np.float32), np.asarray(r_a), across)
    return round_values(total, requantization.rounding).astype(np.float64) - float(z_y)


def _float64(a: QParams, b: QParams, out: QParams, requantization: Requantization) -> Array:
    down, across = _steps(a, b)
    total = (float(a.scale) * down + float(b.scale) * across) / float(out.scale)
    first = float(out.zero_point) if requantization.order is ZeroPointOrder.ADD_THEN_ROUND else 0.0
    return round_values(total + first, requantization.rounding) - first


def _one_shift(a: QParams, b: QParams, out: QParams, requantization: Requantization) -> Array:
    """`round((m_a·(a − z_a) + m_b·(b − z_b)) / 2ⁿ)`, m = round(2ⁿ·r) < 2^31."""
    ratios = [float(p.scale) / float(out.scale) for p in (a, b)]
    n = min(31 - int(np.frexp(max(ratios))[1]), 50)
    m_a, m_b = (round(r * 2.0**n) for r in ratios)
    down, across = _steps(a, b)
    return shifted(m_a * down + m_b * across, n, requantization.rounding)


_LEFT = 20  # bits that the summands are given before they are added


def _double(a: QParams, b: QParams, out: QParams, requantization: Requantization) -> Array:
    """TFLite's: to a common scale of 2·max(s_a, s_b), then to the output's."""
    common = 2 * max(float(a.scale), float(b.scale))
    multiply = partial(multiply_by_quantized_multiplier, requantization=requantization)
    parts = [
        multiply(steps << _LEFT, *quantize_multiplier(float(p.scale) / common))
        for p, steps in zip((a, b), _steps(a, b), strict=True)
    ]
    last = quantize_multiplier(common / (2.0**_LEFT * float(out.scale)))
    return multiply(parts[0] + parts[1], *last).astype(np.int64)
