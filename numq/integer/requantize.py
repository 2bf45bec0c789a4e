"""From int32 accumulators back to 8 bits: `y = clamp(round(acc · s_x·s_w / s_y) + z_y)`.

What is known offline (the multiplier) is separated from what runs: with a fixed-point rule, the
run-time half touches integers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numq.arguments import flag, integer
from numq.arrays import (
    Array,
    FloatArray,
    Frozen,
    IntArray,
    as_data,
    as_float,
    check_finite,
    check_type,
    frozen,
)
from numq.fixedpoint import as_int32, quantize_multiplier
from numq.formats import IntFormat, integer_format
from numq.kernels.passes import requantize as passes
from numq.kernels.product import ways
from numq.kernels.reference import requantize_numpy
from numq.qparams import QParams, check_plain
from numq.requantization import Multiplier, Requantization


@dataclass(frozen=True, eq=False)
class Requantizer(Frozen):
    """What is prepared offline for one layer.

    Attributes:
        requantization: the arithmetic.
        multiplier: per output channel or scalar: float32 or float64 above 0, or the int32
            Q31 multiplier, 0 or in [2^30, 2^31).
        shift: int32 beside a Q31 multiplier, −31 to 30, of its shape; 0 otherwise.
        zero_point: of the output.
        qmin: lower clamp; a fused ReLU raises it to the zero point.
        qmax: upper clamp.
        format: codes of the output, 16 bits or fewer.

    Raises:
        TypeError: a field of another type, a multiplier of another dtype than `requantization` has.
        ValueError: any of the rules above, or clamps that cross or leave the format.
    """

    requantization: Requantization
    multiplier: Array
    shift: NDArray[np.int32]
    zero_point: int
    qmin: int
    qmax: int
    format: IntFormat

    def __post_init__(self) -> None:
        """Check what the run-time half takes for granted, then freeze."""
        check_type(self.requantization, Requantization, "requantization")
        check_type(self.format, IntFormat, "format")
        if self.format.bits > 16:
            raise ValueError(f"format is {self.format.name}; allowed are 16 bits or fewer")
        low, high = self.format.qmin, self.format.qmax
        for name in ("zero_point", "qmin", "qmax"):
            object.__setattr__(self, name, integer(getattr(self, name), name, low, high))
        if self.qmin > self.qmax:
            raise ValueError(f"qmin is {self.qmin}, qmax {self.qmax}; allowed is qmin <= qmax")
        multiplier = _checked_multiplier(self.multiplier, self.requantization)
        object.__setattr__(self, "multiplier", frozen(multiplier))
        object.__setattr__(self, "shift", frozen(_checked_shift(self.shift, self)))

    def way(self, channels: int) -> ways.WayOut | None:
        """The way out of a kernel's sums of so many channels; None: such a rule is not compiled."""
        if self.requantization not in ways.COMPILED:
            return None
        return ways.requantized(
            self.requantization, self.multiplier, self.shift, channels=channels,
            zero_point=self.zero_point, qmin=self.qmin, qmax=self.qmax, dtype=self.format.dtype,
        )  # fmt: skip

    def run(self, sums: NDArray[np.int32]) -> IntArray:
        """Codes of (..., N) int32 sums that are known to be good."""
        return self.in_numpy(sums) if self._way is None else passes.requantize(sums, self._way)

    @cached_property
    def _way(self) -> ways.WayOut | None:
        return self.way(self.multiplier.size)

    def in_numpy(self, sums: NDArray[np.int32]) -> IntArray:
        """Codes of (..., N) int32 sums, by NumPy."""
        ends = self.zero_point, self.qmin, self.qmax
        codes = requantize_numpy(sums, self.multiplier, *ends, self.requantization, self.shift)
        return codes.astype(self.format.dtype)

    def __repr__(self) -> str:
        """One line: the arithmetic, the factors, the codes."""
        factors = np.ldexp(
            self.multiplier.astype(np.float64), self.shift - 31 * self.requantization.fixed
        )
        span = f"{factors.min(initial=np.inf):.4g}…{factors.max(initial=0):.4g}"
        shown = f"{float(factors):.6g}" if not factors.ndim else f"{factors.shape} in {span}"
        return (
            f"Requantizer({self.requantization.name}, multiplier {shown}, {self.format.name}, "
            f"zero_point {self.zero_point}, clamped to [{self.qmin}, {self.qmax}])"
        )


_DTYPES = {Multiplier.FLOAT32: np.float32, Multiplier.FLOAT64: np.float64, Multiplier.Q31: np.int32}


def _checked_multiplier(given: Array, requantization: Requantization) -> Array:
    """The multiplier as `requantization` has it; names the first value that it cannot be."""
    dtype = np.dtype(_DTYPES[requantization.multiplier])
    check_type(given, np.ndarray | np.generic, "multiplier")
    multiplier = as_data(given, "multiplier")
    if multiplier.dtype != dtype:
        raise TypeError(
            f"multiplier has dtype {multiplier.dtype}; allowed for {requantization.name} is {dtype}"
        )
    if multiplier.ndim > 1:
        raise ValueError(f"multiplier has shape {multiplier.shape}; allowed are () and (N,)")
    if requantization.fixed:
        good = (multiplier == 0) | (multiplier >= 2**30)
    else:
        good = np.isfinite(multiplier) & (multiplier > 0)
    if not good.all():
        allowed = "0 and [2^30, 2^31)" if requantization.fixed else "finite numbers above 0"
        raise ValueError(f"multiplier is {multiplier[~good].flat[0]}; allowed are {allowed}")
    return multiplier


def _checked_shift(given: IntArray, r: Requantizer) -> NDArray[np.int32]:
    shift, low, high = as_int32(given, "shift"), -31, 30
    if not r.requantization.fixed:
        low = high = 0
    elif shift.shape != r.multiplier.shape:
        raise ValueError(
            f"shift has shape {shift.shape}; allowed is that of multiplier, {r.multiplier.shape}"
        )
    if shift.size and (shift.min() < low or shift.max() > high):
        raise ValueError(
            f"shift has values from {shift.min()} to {shift.max()}; allowed are {low} to {high}"
        )
    return shift.astype(np.int32)


def prepare_requantizer(
    x_scale: ArrayLike,
    w_scale: ArrayLike,
    out: QParams,
    *,
    requantization: Requantization = Requantization.FIXED_SINGLE_UP,
    relu: bool = False,
) -> Requantizer:
    """The offline half.

    The multiplier M is `float32(float32(s_x·s_w) / s_y)` if it is FLOAT32, otherwise the float64
    quotient of the float32 scales, as the named backends compute it. Below 2^−33 no accumulator
    reaches ½, and M is 2^−126, or 0 in Q31.

    Args:
        x_scale: scale of the input, a positive scalar.
        w_scale: scale of the weight, a scalar or (N,) per output channel.
        out: parameters of the output, per tensor, 16 bits or fewer.
        requantization: the arithmetic.
        relu: clamp at the zero point, which is what ReLU becomes.

    Raises:
        ValueError: scales of another shape, that are not positive, that float32 does not hold to
            24 bits, or whose product or quotient it does not (FLOAT32); M of 2^30 or more.
    """
    check_type(out, QParams, "out")
    check_type(requantization, Requantization, "requantization")
    relu = flag(relu, "relu")
    s_x, s_w = _scale32(x_scale, "x_scale"), _scale32(w_scale, "w_scale")
    if s_x.ndim:
        raise ValueError(
            f"x_scale has shape {s_x.shape}; allowed is (), as the input is per tensor"
        )
    if s_w.ndim > 1:
        raise ValueError(f"w_scale has shape {s_w.shape}; allowed are () and (N,)")
    if out.scale.ndim:
        raise ValueError(
            f"out has scales of shape {out.scale.shape}; allowed is one, as the output is per "
            "tensor"
        )
    if out.format.bits > 16:
        raise ValueError(f"out is {out.format.name}; allowed are 16 bits or fewer")
    s_y = _scale32(out.scale, "the scale of out")
    exact = _exact(s_x.astype(np.float64) * s_w / s_y.astype(np.float64), "x_scale · w_scale")
    if requantization.multiplier is Multiplier.FLOAT32:
        with np.errstate(over="ignore", under="ignore"):
            product = np.asarray(s_x * s_w)
            exact = _single(exact, product, np.asarray(product / s_y), "x_scale · w_scale")
    return _requantizer(exact, out, requantization, relu=relu)


def prepare_mean(
    x_scale: ArrayLike, count: int, out: QParams, requantization: Requantization
) -> Requantizer:
    """The same for the mean of `count` codes: what is requantized is the sum of `x − z_x`.

    M is `float32(s_x / float32(s_y·count))` if it is FLOAT32 (ONNX Runtime's
    QLinearGlobalAveragePool) and the float64 quotient otherwise, for rules that round twice over
    2^`mean_bits`: what they requantize is the sum times that.

    Args:
        x_scale: scale of the input, a positive scalar.
        count: how many codes a sum holds, 1 to 2^22.
        out: parameters of the output, per tensor, 16 bits or fewer.
        requantization: the arithmetic.
    """
    check_type(out, QParams, "out")
    check_type(requantization, Requantization, "requantization")
    count = integer(count, "count", 1, 2**22)
    s_x, s_y = _scale32(x_scale, "x_scale"), _scale32(out.scale, "the scale of out")
    if s_x.ndim or s_y.ndim:
        raise ValueError(f"x_scale has shape {s_x.shape}, that of out {s_y.shape}; allowed is ()")
    exact = _exact(s_x.astype(np.float64) / (s_y.astype(np.float64) * count), "x_scale / count")
    if requantization.multiplier is Multiplier.FLOAT32:
        with np.errstate(over="ignore", under="ignore"):
            product = np.asarray(s_y * np.float32(count))
            exact = _single(exact, product, np.asarray(s_x / product), "the scale of out · count")
    return _requantizer(
        np.ldexp(exact, -mean_bits(count, requantization)), out, requantization, relu=False
    )


def mean_bits(count: int, requantization: Requantization) -> int:
    """Bits that a sum of `count` codes is shifted left by before it is requantized.

    Rules that round twice round to whole accumulators first. For a product, whose accumulators are
    many steps of the output wide, that is fine; a sum of few codes may itself be a step, and the
    first rounding would decide alone. So it is given 22 − ⌈log2 count⌉ bits, as TFLite's ADD gives
    its summands 20: with 9 bits of `x − z_x`, int32 holds it. Nothing for what rounds once.
    """
    return 22 - (count - 1).bit_length() if requantization.twice else 0


def _requantizer(
    multiplier: FloatArray, out: QParams, requantization: Requantization, *, relu: bool
) -> Requantizer:
    shift = np.zeros((), np.int32)
    factor: Array = multiplier
    if requantization.fixed:
        factor, shift = quantize_multiplier(multiplier)
    zero_point = int(out.zero_point)
    qmin = max(out.format.qmin, zero_point) if relu else out.format.qmin
    check_plain(out, "out")
    format = integer_format(out.format, "out.format")
    return Requantizer(requantization, factor, shift, zero_point, qmin, format.qmax, format)


_NOTHING = 2.0**-126  # stands for such a multiplier: kernels take positive numbers
_VANISHING = 2.0**-33  # times any accumulator this is less than ½


def _exact(multiplier: FloatArray, what: str) -> FloatArray:
    """The float64 multiplier, or as good as 0 where it cannot matter; 2^30 or more is refused."""
    multiplier = np.asarray(multiplier)
    if (multiplier >= 2.0**30).any():
        raise ValueError(
            f"{what} / the scale of out is {multiplier.max():g}; allowed is less than 2^30"
        )
    return np.where(multiplier < _VANISHING, _NOTHING, multiplier)


def _single(exact: FloatArray, product: FloatArray, quotient: FloatArray, what: str) -> FloatArray:
    """The float32 multiplier; refused where float32 lacks the product on the way to it."""
    info = np.finfo(np.float32)
    wrong = (exact > _NOTHING) & ~((product >= info.tiny) & (product <= info.max))
    if wrong.any():
        raise ValueError(
            f"{what} is {product[wrong].flat[0]:g} in float32, where FLOAT32 multipliers are "
            f"computed; allowed is {info.tiny:g} to {info.max:g}, or another Requantization"
        )
    return np.where(exact <= _NOTHING, np.float32(_NOTHING), quotient)


def _scale32(scale: ArrayLike, name: str) -> FloatArray:
    """The scale as backends store it, float32; finite, positive, and not rounded to fewer bits."""
    given = as_float(scale, name)
    check_finite(given, name)
    with np.errstate(over="ignore", under="ignore"):
        stored = given.astype(np.float32)
    if (given <= 0).any():
        raise ValueError(f"{name} is {given.min()}; allowed are positive numbers")
    lost = np.abs(stored / given.astype(np.float64) - 1) > 2.0**-24
    if lost.any():
        bad = given[lost].flat[0]
        raise ValueError(
            f"{name} is {bad:g}, which float32 holds only as {stored[lost].flat[0]:g}; allowed "
            "are normal numbers of float32"
        )
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
            f"acc has shape {sums.shape}; allowed for {r.multiplier.size} multipliers is (..., "
            f"{r.multiplier.size})"
        )
    return r.run(sums.astype(np.int32))
