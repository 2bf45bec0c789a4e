"""From int32 accumulators back to 8 bits: `y = clamp(round(acc · s_x·s_w / s_y) + z_y)`.

What is known offline (the multiplier) is separated from what runs: with a fixed-point rule, the
run-time half touches integers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import Array, FloatArray, IntArray, as_float, check_finite, check_type
from numq.fixedpoint import (
    INT32_MAX,
    INT32_MIN,
    MultiplierRounding,
    as_int32,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)
from numq.formats import IntFormat
from numq.kernels import fixedpoint, uses_kernels
from numq.qparams import QParams
from numq.rounding import Rounding, round_values


class Requantization(Enum):
    """How an accumulator is multiplied by a real number and rounded.

    They differ on ties and beside them; which ties there are depends on the multiplier.
    """

    F32_EVEN = "rint(float32(acc) · float32 multiplier) (XNNPACK, ORT on x86)"
    F64_AWAY = "round_half_away(float64(acc) · float64 multiplier) (LiteRT reference FC)"
    GEMMLOWP_DOUBLE = "Q31 multiplier, second rounding half away (LiteRT reference CONV_2D)"
    RUY_DOUBLE_UP = "Q31 multiplier, second rounding half up (LiteRT built-in)"
    FIXED_SINGLE_UP = "Q31 multiplier, one rounding half up (TFLITE_SINGLE_ROUNDING, TOSA)"


_FIXED = {
    Requantization.GEMMLOWP_DOUBLE: MultiplierRounding.DOUBLE,
    Requantization.RUY_DOUBLE_UP: MultiplierRounding.DOUBLE_UP,
    Requantization.FIXED_SINGLE_UP: MultiplierRounding.SINGLE,
}


_KERNEL_RULES = {
    MultiplierRounding.SINGLE: fixedpoint.SINGLE,
    MultiplierRounding.DOUBLE: fixedpoint.DOUBLE,
    MultiplierRounding.DOUBLE_UP: fixedpoint.DOUBLE_UP,
}


@dataclass(frozen=True, eq=False)
class Requantizer:
    """What is prepared offline for one layer.

    Attributes:
        how: the arithmetic.
        multiplier: per output channel or scalar: float32 (F32_EVEN), float64 (F64_AWAY), or the
            int32 Q31 multiplier.
        shift: int32 beside a Q31 multiplier, 0 otherwise.
        zero_point: of the output.
        qmin: lower clamp; a fused ReLU raises it to the zero point.
        qmax: upper clamp.
        format: codes of the output.
    """

    how: Requantization
    multiplier: Array
    shift: IntArray
    zero_point: int
    qmin: int
    qmax: int
    format: IntFormat


def prepare_requantizer(
    x_scale: ArrayLike,
    w_scale: ArrayLike,
    out: QParams,
    how: Requantization = Requantization.FIXED_SINGLE_UP,
    *,
    relu: bool = False,
) -> Requantizer:
    """The offline half.

    The multiplier is `float32(float32(s_x·s_w) / s_y)` for F32_EVEN and the float64 quotient of
    the float32 scales otherwise, as the named backends compute it.

    Args:
        x_scale: scale of the input, a positive scalar.
        w_scale: scale of the weight, a scalar or (N,) per output channel.
        out: parameters of the output, per tensor.
        how: the arithmetic.
        relu: clamp at the zero point, which is what ReLU becomes.
    """
    check_type(out, QParams, "out")
    check_type(how, Requantization, "how")
    s_x, s_w = _scale32(x_scale, "x_scale"), _scale32(w_scale, "w_scale")
    if s_x.ndim:
        raise ValueError(f"x_scale has shape {s_x.shape}; the input is per tensor")
    if out.scale.ndim:
        raise ValueError(f"out has scales of shape {out.scale.shape}; the output is per tensor")
    if out.format.bits > 16:
        raise ValueError(f"out is {out.format.name}; requantization goes to 16 bits or fewer")
    multiplier: Array
    shift: Array = np.zeros((), np.int32)
    if how is Requantization.F32_EVEN:
        multiplier = np.asarray((s_x * s_w) / out.scale.astype(np.float32))
    else:
        double = s_x.astype(np.float64) * s_w.astype(np.float64)
        multiplier = np.asarray(double / out.scale.astype(np.float64))
    if how in _FIXED:
        multiplier, shift = quantize_multiplier(multiplier)
    zero_point = int(out.zero_point)
    qmin = max(out.format.qmin, zero_point) if relu else out.format.qmin
    return Requantizer(how, multiplier, shift, zero_point, qmin, out.format.qmax, out.format)


def _scale32(scale: ArrayLike, name: str) -> FloatArray:
    """The scale as backends store it, float32; finite and positive."""
    stored = as_float(scale, name).astype(np.float32)
    check_finite(stored, name)
    if (stored <= 0).any():
        raise ValueError(f"{name} is {stored.min()}; allowed are positive numbers")
    return stored


def requantize(acc: ArrayLike, requantizer: Requantizer) -> IntArray:
    """The run-time half: int32 accumulators to codes of the output.

    Args:
        acc: (..., N) int32 accumulators; a multiplier per channel runs along the last axis.
        requantizer: from `prepare_requantizer`.

    Returns:
        (..., N) codes in the dtype of the output format.

    Raises:
        TypeError: accumulators that are not integers.
        ValueError: N multipliers on a last axis that is not N.
        OverflowError: accumulators outside int32.
    """
    check_type(requantizer, Requantizer, "requantizer")
    r = requantizer
    sums = as_int32(acc, "acc")
    if r.multiplier.ndim and sums.shape[-1:] != r.multiplier.shape:
        raise ValueError(
            f"acc has shape {sums.shape}; {r.multiplier.size} multipliers need "
            f"(..., {r.multiplier.size})"
        )
    if r.how in _FIXED and uses_kernels():
        rule = _KERNEL_RULES[_FIXED[r.how]]
        ends = (r.zero_point, r.qmin, r.qmax, r.format.dtype)
        return fixedpoint.requantize(sums.astype(np.int32), r.multiplier, r.shift, rule, *ends)
    scaled = _scale_down(sums, r)
    # Wider than 32 bits: scaled value and zero point may both be at their ends.
    wide = scaled.astype(np.int64 if r.how in _FIXED else np.float64)
    return np.clip(wide + r.zero_point, r.qmin, r.qmax).astype(r.format.dtype)


def _scale_down(acc: IntArray, r: Requantizer) -> Array:
    """`round(acc · multiplier)`: int32 by fixed point, integral floats otherwise."""
    if r.how in _FIXED:
        # What a left shift would push out of int32 is beyond every code: saturating it changes
        # nothing after the clamp.
        left = np.maximum(r.shift, 0)
        held = np.clip(acc, INT32_MIN >> left, INT32_MAX >> left)
        return multiply_by_quantized_multiplier(held, r.multiplier, r.shift, _FIXED[r.how])
    if r.how is Requantization.F32_EVEN:
        return round_values(acc.astype(np.float32) * r.multiplier, Rounding.HALF_EVEN)
    return round_values(acc.astype(np.float64) * r.multiplier, Rounding.HALF_AWAY)
